//! A program's log line, for a person: programs write one JSON object per line.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// `time LEVEL message key=value ..`; a line that is no such object stays as it is.
pub fn readable(line: &str) -> Cow<'_, str> {
    match serde_json::from_str::<Map<String, Value>>(line) {
        Ok(fields) => Cow::Owned(composed(fields)),
        Err(_) => Cow::Borrowed(line),
    }
}

fn composed(mut fields: Map<String, Value>) -> String {
    let mut words = Vec::new();
    for key in ["timestamp", "level", "message"] {
        words.extend(fields.remove(key).map(|value| shown(&value)));
    }
    fields.remove("target");
    words.extend(fields.iter().map(|(key, value)| format!("{key}={}", shown(value))));
    words.join(" ")
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_becomes_a_sentence_and_anything_else_stays() {
        let line = r#"{"timestamp":"T","level":"INFO","target":"router","message":"listening","address":"[::]:80","n":2}"#;
        assert_eq!(readable(line), "T INFO listening address=[::]:80 n=2");
        for other in ["trireme-router: failed to bind", "[1]", "", "{"] {
            assert_eq!(readable(other), other);
        }
    }
}
