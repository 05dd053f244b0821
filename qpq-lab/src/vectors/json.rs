//! The files as JSON: reading fields of them, writing one case a line, and saying where two differ.

use qpq_server_example::hex::hex;
use serde_json::Value;

use super::VectorError;

type Result<T> = core::result::Result<T, VectorError>;

/// Lists with these names have one item a line.
const LISTS: [&str; 4] = ["cases", "machines", "starts", "steps"];

/// Reading of fields; a field that is not as the schema says is an error that names it.
pub(super) trait Fields {
    fn get_field(&self, name: &str) -> Option<&Value>;

    fn field(&self, name: &str) -> Result<&Value> {
        self.get_field(name).ok_or_else(|| wrong(name, "present"))
    }

    fn text(&self, name: &str) -> Result<&str> {
        let text = self.field(name)?.as_str();
        text.ok_or_else(|| wrong(name, "a text"))
    }

    fn list(&self, name: &str) -> Result<&[Value]> {
        let list = self.field(name)?.as_array();
        list.map(Vec::as_slice).ok_or_else(|| wrong(name, "a list"))
    }

    /// A whole number: a JSON number, or decimal text where it may be above 2^53.
    fn number<T: TryFrom<u64>>(&self, name: &str) -> Result<T> {
        let value = self.field(name)?;
        let number = value
            .as_u64()
            .or_else(|| value.as_str().and_then(|text| text.parse().ok()));
        number
            .and_then(|number| T::try_from(number).ok())
            .ok_or_else(|| wrong(name, "a number of its type"))
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>> {
        unhex(self.text(name)?).ok_or_else(|| wrong(name, "hexadecimal"))
    }

    fn array<const N: usize>(&self, name: &str) -> Result<[u8; N]> {
        let bytes = self.bytes(name)?.try_into();
        bytes.map_err(|_| wrong(name, "as long as its type"))
    }
}

impl Fields for Value {
    fn get_field(&self, name: &str) -> Option<&Value> {
        self.get(name)
    }
}

/// The error for a field that is not as expected.
pub(super) fn wrong(field: &str, expected: &'static str) -> VectorError {
    VectorError::Field {
        field: field.to_owned(),
        expected,
    }
}

/// Bytes from hexadecimal digits.
pub(super) fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let pairs = digits.chunks(2);
    let byte = |pair| u8::from_str_radix(core::str::from_utf8(pair).ok()?, 16).ok();
    pairs.map(byte).collect()
}

/// Bytes as hexadecimal in JSON.
pub(super) fn digits(bytes: impl AsRef<[u8]>) -> Value {
    hex(bytes.as_ref()).into()
}

/// The text of a file.
pub(super) fn print(value: &Value) -> String {
    let mut text = String::new();
    write(value, 0, &mut text);
    text.push('\n');
    text
}

fn write(value: &Value, depth: usize, text: &mut String) {
    let fields = value.as_object().filter(|fields| {
        let long = |name: &&str| fields.get(*name).is_some_and(Value::is_array);
        depth == 0 || LISTS.iter().any(long)
    });
    let Some(fields) = fields else {
        text.push_str(&value.to_string());
        return;
    };
    text.push('{');
    for (number, (name, field)) in fields.iter().enumerate() {
        text.push_str(if number == 0 { "\n" } else { ",\n" });
        indent(depth + 1, text);
        text.push_str(&format!("{}: ", Value::from(name.as_str())));
        match field.as_array().filter(|_| LISTS.contains(&name.as_str())) {
            Some(items) => write_list(items, depth + 1, text),
            None => text.push_str(&field.to_string()),
        }
    }
    text.push('\n');
    indent(depth, text);
    text.push('}');
}

fn write_list(items: &[Value], depth: usize, text: &mut String) {
    text.push('[');
    for (number, item) in items.iter().enumerate() {
        text.push_str(if number == 0 { "\n" } else { ",\n" });
        indent(depth + 1, text);
        write(item, depth + 1, text);
    }
    text.push('\n');
    indent(depth, text);
    text.push(']');
}

fn indent(depth: usize, text: &mut String) {
    text.extend(core::iter::repeat_n(' ', depth));
}

/// Where `file` and `here` differ first: the field, and what stands in each.
pub(super) fn difference(file: &Value, here: &Value) -> Option<VectorError> {
    differ(file, here, &mut Vec::new())
}

fn differ<'a>(file: &'a Value, here: &'a Value, path: &mut Vec<String>) -> Option<VectorError> {
    match (file, here) {
        (Value::Object(a), Value::Object(b)) => {
            let names = a
                .keys()
                .chain(b.keys().filter(|name| !a.contains_key(*name)));
            for name in names {
                path.push(format!(".{name}"));
                let found = differ(
                    a.get(name).unwrap_or(&Value::Null),
                    b.get(name).unwrap_or(&Value::Null),
                    path,
                );
                if found.is_some() {
                    return found;
                }
                path.pop();
            }
            None
        }
        (Value::Array(a), Value::Array(b)) => {
            for index in 0..a.len().max(b.len()) {
                path.push(format!("[{index}]"));
                let item = |list: &'a [Value]| list.get(index).unwrap_or(&Value::Null);
                let found = differ(item(a), item(b), path);
                if found.is_some() {
                    return found;
                }
                path.pop();
            }
            None
        }
        _ if file == here => None,
        _ => Some(VectorError::Differs {
            field: path.concat().trim_start_matches('.').to_owned(),
            how: contrast(file, here),
        }),
    }
}

/// Two values that are not the same, in a line.
fn contrast(file: &Value, here: &Value) -> String {
    let bytes = |value: &Value| value.as_str().and_then(unhex);
    match (bytes(file), bytes(here)) {
        (Some(file), Some(here)) => {
            let same = file.iter().zip(&here).take_while(|(a, b)| a == b).count();
            let show = |bytes: &[u8]| match bytes.get(same) {
                Some(byte) => format!("{byte:02x}"),
                None => "its end".to_owned(),
            };
            let (a, b) = (show(&file), show(&here));
            let lengths = match file.len() == here.len() {
                true => String::new(),
                false => format!(" ({} and {} bytes)", file.len(), here.len()),
            };
            format!("byte {same} is {a} in the file, {b} here{lengths}")
        }
        _ => format!("{} in the file, {} here", short(file), short(here)),
    }
}

fn short(value: &Value) -> String {
    match value {
        Value::Null => "nothing".to_owned(),
        value => {
            let text = value.to_string();
            match text.char_indices().nth(80) {
                Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
                None => text,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_first_byte_that_differs_is_named() {
        let file = json!({"a": 1, "cases": [{"bytes": "00ff10"}, {"bytes": "00ff10"}]});
        let mut here = file.clone();
        assert_eq!(difference(&file, &here), None);
        here["cases"][1]["bytes"] = "00fe10".into();
        assert_eq!(
            difference(&file, &here).map(|error| error.to_string()),
            Some("cases[1].bytes: byte 1 is ff in the file, fe here".to_owned())
        );
        here["cases"][1]["bytes"] = "00".into();
        assert_eq!(
            difference(&file, &here).map(|error| error.to_string()),
            Some(
                "cases[1].bytes: byte 1 is ff in the file, its end here (3 and 1 bytes)".to_owned()
            )
        );
        here["cases"][0] = json!({});
        assert_eq!(
            difference(&file, &here).map(|error| error.to_string()),
            Some("cases[0].bytes: \"00ff10\" in the file, nothing here".to_owned())
        );
    }

    #[test]
    fn each_case_has_a_line_of_its_own() {
        let value = json!({"cases": [{"a": [1, 2]}, {"steps": [1, {"b": {}}]}], "subject": "x"});
        assert_eq!(
            print(&value),
            "{\n \"cases\": [\n  {\"a\":[1,2]},\n  {\n   \"steps\": [\n    1,\n    {\"b\":{}}\n   ]\n  }\n ],\n \"subject\": \"x\"\n}\n"
        );
        assert_eq!(
            serde_json::from_str::<Value>(&print(&value)).ok(),
            Some(value)
        );
    }
}
