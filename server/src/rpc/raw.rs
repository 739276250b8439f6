//! What can be told of JSON without parsing it: how it begins, how deep it nests.

/// Whether it begins like an object.
pub(super) fn is_object(text: &str) -> bool {
    first_byte(text) == Some(b'{')
}

/// Whether it begins like an array.
pub(super) fn is_array(text: &str) -> bool {
    first_byte(text) == Some(b'[')
}

fn first_byte(text: &str) -> Option<u8> {
    text.bytes()
        .find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
}

/// Whether brackets outside of strings nest deeper than `max`. Most bodies have
/// fewer brackets than that altogether, and counting those is much cheaper.
pub(super) fn is_deeper(body: &[u8], max: usize) -> bool {
    let opening = |byte: &u8| matches!(byte, b'[' | b'{');
    if body.iter().filter(|byte| opening(byte)).count() <= max {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in body {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
        } else {
            match byte {
                b'"' => in_string = true,
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > max {
                return true;
            }
        }
    }
    false
}
