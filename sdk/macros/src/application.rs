//! `#[corelet::application]`: a struct becomes the doors to a context's state.
//! What its methods become is in `methods.rs`.

use proc_macro2::{Ident, TokenStream};
use quote::quote;
use syn::parse::Parser;
use syn::spanned::Spanned;
use syn::{
    Attribute, Error, Expr, ExprLit, Field, Fields, ItemStruct, Lit, LitByteStr, LitInt, LitStr,
};

pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let mut item: ItemStruct = match syn::parse2(item) {
        Ok(item) => item,
        Err(error) => {
            let error = Error::new(error.span(), "an application is a struct");
            return error.into_compile_error();
        }
    };
    match state(attribute, &mut item) {
        Ok(state) => quote!(#item #state),
        Err(error) => {
            let error = error.into_compile_error();
            quote!(#item #error)
        }
    }
}

/// The `State` impl; takes our attributes off the fields.
fn state(attribute: TokenStream, item: &mut ItemStruct) -> syn::Result<TokenStream> {
    let Given {
        name,
        schema_version,
    } = given(attribute)?;
    let exported = schema_version
        .as_ref()
        .map(|_| export_schema_version(&item.ident));
    let schema_version =
        schema_version.map(|version| quote!(const SCHEMA_VERSION: u64 = #version;));
    if !item.generics.params.is_empty() {
        let message = "an application is not generic: its state must be the same everywhere";
        return Err(Error::new(item.generics.span(), message));
    }
    let mut seen: Vec<(String, String)> = Vec::new();
    let mut opened = Vec::new();
    let mut problems: Option<Error> = None;
    match &mut item.fields {
        Fields::Named(fields) => {
            for field in &mut fields.named {
                match open_field(field, &mut seen) {
                    Ok(tokens) => opened.push(tokens),
                    Err(error) => match &mut problems {
                        Some(problems) => problems.combine(error),
                        None => problems = Some(error),
                    },
                }
            }
        }
        Fields::Unit => {}
        Fields::Unnamed(fields) => {
            let message = "the fields of an application have names: their entries lie under them";
            return Err(Error::new(fields.span(), message));
        }
    }
    if let Some(problems) = problems {
        return Err(problems);
    }
    let ident = &item.ident;
    Ok(quote! {
        #[automatically_derived]
        impl ::corelet_sdk::private::State for #ident {
            const NAME: &'static str = #name;
            const VERSION: &'static str = ::core::env!("CARGO_PKG_VERSION");
            #schema_version

            #[inline]
            fn open() -> Self {
                Self { #(#opened),* }
            }
        }

        #exported
    })
}

/// What the attribute says.
struct Given {
    name: TokenStream,
    schema_version: Option<LitInt>,
}

fn given(attribute: TokenStream) -> syn::Result<Given> {
    let (mut name, mut schema_version) = (None, None);
    let parser = syn::meta::parser(|meta| {
        if meta.path.is_ident("name") {
            name = Some(meta.value()?.parse::<LitStr>()?);
            Ok(())
        } else if meta.path.is_ident("schema_version") {
            let version = meta.value()?.parse::<LitInt>()?;
            if version.base10_parse::<u64>().is_err() {
                let message = "a schema version is a number from 0 on, of up to 64 bits";
                return Err(Error::new(version.span(), message));
            }
            schema_version = Some(version);
            Ok(())
        } else {
            Err(meta.error(
                "unknown argument: an application takes `name = \"…\"` and `schema_version = N`",
            ))
        }
    });
    parser.parse2(attribute)?;
    Ok(Given {
        name: match name {
            Some(name) => quote!(#name),
            None => quote!(::core::env!("CARGO_PKG_NAME")),
        },
        schema_version,
    })
}

/// Only who says in which form its state is exports that, so that all others stay as they were.
fn export_schema_version(ident: &Ident) -> TokenStream {
    quote! {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Guest = ::corelet_sdk::guest::Guest<#ident>;
            ::corelet_sdk::hook_bindings::schema_version::export_schema_version!(
                Guest with_types_in ::corelet_sdk::hook_bindings::schema_version
            );
        };
    }
}

/// The most bytes of a prefix: it is part of every key.
const PREFIX_BYTES_MAX: usize = 64;

fn open_field(field: &mut Field, seen: &mut Vec<(String, String)>) -> syn::Result<TokenStream> {
    let ident = field.ident.clone().expect("named fields have names");
    let field_name = ident.to_string();
    let field_name = field_name.strip_prefix("r#").unwrap_or(&field_name);
    let mut prefix = field_name.to_owned();
    let mut kept = Vec::new();
    for attribute in std::mem::take(&mut field.attrs) {
        if attribute.path().is_ident("prefix") {
            prefix = written_prefix(&attribute)?;
        } else if attribute.path().is_ident("doc") || attribute.path().is_ident("allow") {
            kept.push(attribute);
        } else {
            let message = "unknown attribute: a field takes `#[prefix(\"…\")]` and a doc comment";
            return Err(Error::new(attribute.span(), message));
        }
    }
    field.attrs = kept;
    if let Some((other, _)) = seen.iter().find(|(_, taken)| *taken == prefix) {
        let message = format!("the prefix `{prefix}` is taken by the field `{other}`");
        return Err(Error::new(ident.span(), message));
    }
    seen.push((field_name.to_owned(), prefix.clone()));
    // No prefix holds a zero byte, so with one at the end none begins another.
    let mut bytes = prefix.into_bytes();
    bytes.push(0);
    let bytes = LitByteStr::new(&bytes, ident.span());
    let ty = &field.ty;
    Ok(quote!(#ident: <#ty as ::corelet_sdk::private::Collection>::at(#bytes)))
}

/// The text of `#[prefix("…")]`.
fn written_prefix(attribute: &Attribute) -> syn::Result<String> {
    let expected = || {
        let message = format!(
            "expected `#[prefix(\"…\")]` with 1 to {PREFIX_BYTES_MAX} bytes and no zero byte"
        );
        Error::new(attribute.span(), message)
    };
    let Ok(Expr::Lit(ExprLit {
        lit: Lit::Str(text),
        ..
    })) = attribute.parse_args::<Expr>()
    else {
        return Err(expected());
    };
    let text = text.value();
    if text.is_empty() || text.len() > PREFIX_BYTES_MAX || text.contains('\0') {
        return Err(expected());
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(attribute: TokenStream, item: TokenStream, expected: &str) {
        let expanded = expand(attribute, item).to_string();
        assert!(expanded.contains(expected), "{expected}\nin\n{expanded}");
    }

    #[test]
    fn fields_open_under_their_names_or_prefixes() {
        let item = || {
            quote!(
                struct App {
                    #[prefix("e")]
                    entries: Map<u8, u8>,
                    r#type: Register<u8>,
                }
            )
        };
        check(quote!(), item(), r#"at (b"e\0")"#);
        check(quote!(), item(), r#"at (b"type\0")"#);
        check(quote!(), item(), "CARGO_PKG_NAME");
        check(
            quote!(name = "app"),
            item(),
            r#"const NAME : & 'static str = "app""#,
        );
        let expanded = expand(quote!(), item()).to_string();
        assert!(!expanded.contains("prefix"), "our attribute is taken off");
        assert!(!expanded.contains("schema_version"), "it is as it was");
        check(
            quote!(name = "app", schema_version = 7),
            item(),
            "const SCHEMA_VERSION : u64 = 7 ;",
        );
        check(quote!(schema_version = 7), item(), "export_schema_version");
    }

    #[test]
    fn what_cannot_be_an_application_is_refused() {
        check(
            quote!(),
            quote!(
                enum App {}
            ),
            "an application is a struct",
        );
        check(
            quote!(),
            quote!(
                struct App<T> {
                    a: Map<T, T>,
                }
            ),
            "an application is not generic",
        );
        check(
            quote!(),
            quote!(
                struct App(Map<u8, u8>);
            ),
            "fields of an application have names",
        );
        check(
            quote!(schema_version = -1),
            quote!(
                struct App;
            ),
            "a schema version is a number",
        );
        check(
            quote!(nam = "x"),
            quote!(
                struct App;
            ),
            "unknown argument",
        );
    }

    #[test]
    fn wrong_fields_are_refused() {
        check(
            quote!(),
            quote!(
                struct App {
                    a: Register<u8>,
                    #[prefix("a")]
                    b: Register<u8>,
                }
            ),
            "the prefix `a` is taken by the field `a`",
        );
        check(
            quote!(),
            quote!(
                struct App {
                    #[prefix("")]
                    a: Register<u8>,
                }
            ),
            "1 to 64 bytes",
        );
        check(
            quote!(),
            quote!(
                struct App {
                    #[serde(skip)]
                    a: Register<u8>,
                }
            ),
            "unknown attribute",
        );
    }
}
