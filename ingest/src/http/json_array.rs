//! Cuts a JSON array into its elements without understanding them, so that one bad element spoils
//! only itself.

/// The elements of the array in `body`, trimmed. The error says why it is not one array.
pub fn elements(body: &[u8]) -> Result<Vec<&[u8]>, String> {
    let body = body.trim_ascii();
    let inner = body
        .strip_prefix(b"[")
        .and_then(|rest| rest.strip_suffix(b"]"))
        .ok_or("the body is not a complete JSON array")?;
    let mut elements = Vec::new();
    let (mut depth, mut start) = (0_usize, 0);
    let (mut in_text, mut escaped) = (false, false);
    for (at, &byte) in inner.iter().enumerate() {
        if in_text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_text = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth
                    .checked_sub(1)
                    .ok_or_else(|| format!("the brackets of the array do not match at byte {at}"))?
            }
            b',' if depth == 0 => {
                elements.push(inner[start..at].trim_ascii());
                start = at + 1;
            }
            _ => {}
        }
    }
    if depth > 0 || in_text {
        return Err("the array ends inside an element".to_owned());
    }
    let last = inner[start..].trim_ascii();
    if !last.is_empty() || !elements.is_empty() {
        elements.push(last);
    }
    if let Some(at) = elements.iter().position(|element| element.is_empty()) {
        return Err(format!("element {} of the array is empty", at + 1));
    }
    Ok(elements)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::elements;

    #[test]
    fn brackets_and_commas_in_text_do_not_cut() {
        let body = br#" [ {"a":"],[\"}"} , [1,2],"x,y" ] "#;
        let found: Vec<&str> = elements(body)
            .unwrap()
            .into_iter()
            .map(|e| std::str::from_utf8(e).unwrap())
            .collect();
        assert_eq!(found, [r#"{"a":"],[\"}"}"#, "[1,2]", "\"x,y\""]);
        assert!(elements(b"[]").unwrap().is_empty());
        for broken in [
            &b"[1,]"[..],
            b"[,1]",
            b"[{]",
            b"[}]",
            b"[\"]",
            b"{}",
            b"",
            b"[",
            b"[1] [2]",
        ] {
            assert!(
                elements(broken).is_err(),
                "{}",
                String::from_utf8_lossy(broken)
            );
        }
    }

    proptest! {
        #[test]
        fn agrees_with_a_json_parser(values in prop::collection::vec(prop_oneof![
            any::<i64>().prop_map(serde_json::Value::from),
            any::<String>().prop_map(serde_json::Value::from),
            any::<(String, Vec<String>)>().prop_map(|(k, v)| serde_json::json!({ k: v })),
        ], 0..10)) {
            let body = serde_json::to_vec_pretty(&values).unwrap();
            let found: Vec<serde_json::Value> = elements(&body).unwrap().into_iter()
                .map(|element| serde_json::from_slice(element).unwrap()).collect();
            prop_assert_eq!(found, values);
        }

        #[test]
        fn never_panics(body in prop::collection::vec(prop_oneof![Just(b'['), Just(b']'),
            Just(b'{'), Just(b'}'), Just(b'"'), Just(b'\\'), Just(b','), Just(b'1')], 0..40)) {
            let _ = elements(&body);
        }
    }
}
