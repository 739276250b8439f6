//! The parameters of a query string: which there are, and what those of a page may be.
//! No route here; what a parameter means to one of them alone is beside its handler
//! (`routes/`).

use std::str::FromStr;

use crate::refusal::{Code, Refusal};

/// Contexts in one page.
const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1000;

/// The values of these parameters in a query string; an empty one for a name alone. Others
/// are refused, and so is one that is given twice: which of its values counts is not for us
/// to guess.
pub(super) fn parameters<'q, const N: usize>(
    query: Option<&'q str>,
    names: [&str; N],
) -> Result<[Option<&'q str>; N], Refusal> {
    let mut values = [None; N];
    let pairs = query.unwrap_or("").split('&');
    for pair in pairs.filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let Some(place) = names.iter().position(|known| *known == name) else {
            let message = match N {
                0 => "there are no parameters here".to_owned(),
                _ => format!("the parameters here are: {}", names.join(", ")),
            };
            return Err(bad_parameter(name, message));
        };
        if values[place].replace(value).is_some() {
            return Err(bad_parameter(name, format!("{name} is given twice")));
        }
    }
    Ok(values)
}

/// The refusal of a parameter, of whose name no more is shown than any of ours has.
pub(super) fn bad_parameter(parameter: &str, message: impl Into<String>) -> Refusal {
    let shown: String = parameter.chars().take(64).collect();
    Refusal::new(Code::InvalidParams, message.into()).with("parameter", shown)
}

/// How many are wanted, by the value of `limit`.
pub(super) fn limit_of(value: Option<&str>) -> Result<usize, Refusal> {
    let Some(value) = value else {
        return Ok(PAGE_DEFAULT);
    };
    let count = value.parse().ok();
    count
        .filter(|count| (1..=PAGE_MAX).contains(count))
        .ok_or_else(|| {
            bad_parameter(
                "limit",
                format!("limit must be a number from 1 to {PAGE_MAX}"),
            )
        })
}

/// Where to go on in something numbered, by the value of `after`.
pub(super) fn number_of(value: Option<&str>) -> Result<u64, Refusal> {
    let number = value.map_or(Ok(0), str::parse);
    number.map_err(|_| bad_parameter("after", "after must be a number from 0"))
}

/// `after` and `limit` of a query string, `after` being the id of `what`. Neither needs
/// escapes.
pub(super) fn page<T: FromStr>(
    query: Option<&str>,
    what: &str,
) -> Result<(Option<T>, usize), Refusal> {
    let [after, limit] = parameters(query, ["after", "limit"])?;
    let must = |_| bad_parameter("after", format!("after must be the id of {what}"));
    let after = after.map(|id| id.parse().map_err(must)).transpose()?;
    Ok((after, limit_of(limit)?))
}

#[cfg(test)]
mod tests {
    use corelet_store::ContextId;

    use super::*;

    #[test]
    fn a_reader_goes_on_behind_a_number() {
        assert_eq!(number_of(None).unwrap(), 0);
        let last = number_of(Some("18446744073709551615"));
        assert_eq!(last.unwrap(), u64::MAX);
        assert_eq!(limit_of(None).unwrap(), PAGE_DEFAULT);
        assert_eq!(limit_of(Some("1000")).unwrap(), PAGE_MAX);
        for bad in ["", "-1", "x", "18446744073709551616"] {
            let refused = number_of(Some(bad)).unwrap_err();
            assert_eq!(refused.code, Code::InvalidParams, "{bad}");
        }
        for bad in ["", "0", "1001"] {
            let refused = limit_of(Some(bad)).unwrap_err();
            assert_eq!(refused.code, Code::InvalidParams, "{bad}");
        }
    }

    #[test]
    fn a_parameter_is_known_and_given_once() {
        let of = |query| parameters(Some(query), ["after", "limit"]);
        assert_eq!(of("").unwrap(), [None, None]);
        assert_eq!(of("&limit=7&").unwrap(), [None, Some("7")]);
        assert_eq!(of("limit&after=a=b").unwrap(), [Some("a=b"), Some("")]);
        for (bad, name) in [
            ("after=1&after=2", "after"),
            ("after=1&limit=1&after=1", "after"),
            ("limit&limit", "limit"),
            ("offset=3", "offset"),
            ("After=3", "After"),
            ("=3", ""),
        ] {
            let refused = of(bad).unwrap_err();
            assert_eq!(refused.code, Code::InvalidParams, "{bad}");
            assert_eq!(refused.data["parameter"], name, "{bad}");
        }
        assert!(parameters(Some("x=1"), []).is_err());
        assert_eq!(parameters(None, []).unwrap(), [None::<&str>; 0]);
    }

    #[test]
    fn a_page_is_bounded_and_unknown_parameters_are_refused() {
        let page = |query: &str| page::<ContextId>(Some(query), "a context");
        assert_eq!(page("").unwrap(), (None, PAGE_DEFAULT));
        assert_eq!(page("limit=7&").unwrap(), (None, 7));
        let id = ContextId::from_bytes([7; 32]);
        assert_eq!(
            page(&format!("after={id}&limit=1000")).unwrap(),
            (Some(id), 1000)
        );
        for bad in [
            "limit=0",
            "limit=1001",
            "limit=",
            "limit=-1",
            "after=x",
            "after",
            "offset=3",
        ] {
            assert_eq!(page(bad).unwrap_err().code, Code::InvalidParams, "{bad}");
        }
    }
}
