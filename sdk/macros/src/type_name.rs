//! A type as its author would write it: tokens without the blanks that
//! printing them puts everywhere.

use quote::ToTokens;

/// `Option<Vec<u8>>` rather than `Option < Vec < u8 > >`.
pub(crate) fn type_name(ty: &impl ToTokens) -> String {
    let printed = ty.to_token_stream().to_string();
    let mut name = String::with_capacity(printed.len());
    let mut rest = printed.chars().peekable();
    while let Some(char) = rest.next() {
        if char != ' ' {
            name.push(char);
            continue;
        }
        let before = name.chars().next_back().unwrap_or(' ');
        let after = rest.peek().copied().unwrap_or(' ');
        let joins_words = is_word(before) && (is_word(after) || after == '\'');
        if joins_words || matches!(before, ',' | ';' | '+' | '=') || matches!(after, '+' | '=') {
            name.push(' ');
        }
    }
    name
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

#[cfg(test)]
mod tests {
    use super::type_name;

    #[test]
    fn types_read_as_written() {
        for written in [
            "String",
            "Option<Vec<u8>>",
            "[u8; 32]",
            "Result<Page<String, u64>, Error>",
            "std::collections::BTreeMap<String, (u8, i64)>",
            "()",
            "&str",
            "&'static str",
            "Box<dyn Any + Send>",
        ] {
            let ty: syn::Type = syn::parse_str(written).unwrap();
            assert_eq!(type_name(&ty), written);
        }
    }
}
