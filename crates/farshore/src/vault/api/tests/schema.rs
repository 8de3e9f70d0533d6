//! The part of JSON Schema that the API's document uses: whether a value is as a schema says,
//! and values made by one. A word that is not known here fails the test, never passes it.

use serde_json::{Map, Value, json};

/// Words that say nothing of a value.
const SILENT: [&str; 6] = ["description", "default", "title", "format", "examples", "deprecated"];
/// Words that are understood.
const KNOWN: [&str; 16] = [
    "$ref",
    "type",
    "enum",
    "const",
    "oneOf",
    "anyOf",
    "allOf",
    "properties",
    "required",
    "items",
    "additionalProperties",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
];
/// Deeper than any value of the API: recursion in a schema ends here.
const DEPTH_MAX: usize = 16;

/// Schemas of a document.
pub(super) struct Schemas {
    document: Value,
}

/// Numbers that look random, the same again from the same seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end.max(1) as u64).unwrap()
    }

    pub(super) fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

impl Schemas {
    pub(super) fn of(document: Value) -> Schemas {
        Schemas { document }
    }

    pub(super) fn document(&self) -> &Value {
        &self.document
    }

    /// What a reference points at, or the value itself.
    fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(path) => {
                self.document.pointer(path.trim_start_matches('#')).unwrap_or_else(|| panic!("{path}"))
            }
            None => schema,
        }
    }

    /// Why a value is not as a schema says.
    pub(super) fn check(&self, schema: &Value, value: &Value) -> Result<(), String> {
        let schema = self.resolved(schema);
        let Some(words) = schema.as_object() else {
            return if schema == &json!(true) { Ok(()) } else { Err(format!("no schema: {schema}")) };
        };
        for word in words.keys() {
            let known = KNOWN.contains(&word.as_str()) || SILENT.contains(&word.as_str());
            assert!(known, "the schema word '{word}' is not understood: teach it to this test");
        }
        let fail = |what: &str| Err(format!("{value} is not {what} of {schema}"));
        if !is_of_type(words, value) {
            return fail("the type");
        }
        if words.get("enum").is_some_and(|all| !all.as_array().unwrap().contains(value)) {
            return fail("in the enum");
        }
        if words.get("const").is_some_and(|only| only != value) {
            return fail("the constant");
        }
        let fits = |schema: &Value| self.check(schema, value).is_ok();
        let list = |word: &str| words.get(word).and_then(Value::as_array);
        if list("oneOf").is_some_and(|all| all.iter().filter(|one| fits(one)).count() != 1) {
            return fail("exactly one");
        }
        if list("anyOf").is_some_and(|all| !all.iter().any(fits)) {
            return fail("any");
        }
        list("allOf").into_iter().flatten().try_for_each(|one| self.check(one, value))?;
        if !in_range(words, value) {
            return fail("in the range");
        }
        self.check_parts(words, value)
    }

    fn check_parts(&self, words: &Map<String, Value>, value: &Value) -> Result<(), String> {
        if let (Some(items), Some(values)) = (words.get("items"), value.as_array()) {
            values.iter().try_for_each(|value| self.check(items, value))?;
        }
        let Some(fields) = value.as_object() else { return Ok(()) };
        for name in words.get("required").and_then(Value::as_array).into_iter().flatten() {
            if !fields.contains_key(name.as_str().unwrap()) {
                return Err(format!("{value} lacks {name}"));
            }
        }
        let known = words.get("properties").and_then(Value::as_object);
        for (name, value) in fields {
            match known.and_then(|known| known.get(name)) {
                Some(schema) => self.check(schema, value).map_err(|why| format!("{name}: {why}"))?,
                None if words.get("additionalProperties") == Some(&json!(false)) => {
                    return Err(format!("'{name}' is not known"));
                }
                None => {}
            }
        }
        Ok(())
    }

    /// A value as a schema says, or nearly; texts are often of `names`.
    pub(super) fn make(&self, schema: &Value, random: &mut Random, names: &[String], depth: usize) -> Value {
        let schema = self.resolved(schema);
        let Some(words) = schema.as_object().filter(|_| depth < DEPTH_MAX) else { return Value::Null };
        if let Some(all) = words.get("enum").and_then(Value::as_array) {
            return random.pick(all).clone();
        }
        if let Some(only) = words.get("const") {
            return only.clone();
        }
        for word in ["oneOf", "anyOf"] {
            if let Some(all) = words.get(word).and_then(Value::as_array) {
                return self.make(random.pick(all), random, names, depth + 1);
            }
        }
        if let Some(all) = words.get("allOf").and_then(Value::as_array) {
            let mut fields = Map::new();
            for one in all {
                fields.extend(
                    self.make(one, random, names, depth + 1).as_object().cloned().unwrap_or_default(),
                );
            }
            return Value::Object(fields);
        }
        let kinds = match words.get("type") {
            Some(Value::Array(kinds)) => kinds.clone(),
            Some(kind) => vec![kind.clone()],
            None => vec![json!("null")],
        };
        match random.pick(&kinds).as_str().unwrap() {
            "object" => self.make_object(words, random, names, depth),
            "array" => {
                let count = random.below(4);
                (0..count).map(|_| self.make(&words["items"], random, names, depth + 1)).collect()
            }
            "string" => json!(text(random, names)),
            "integer" | "number" => number(words, random),
            "boolean" => json!(random.one_in(2)),
            _ => Value::Null,
        }
    }

    fn make_object(
        &self,
        words: &Map<String, Value>,
        random: &mut Random,
        names: &[String],
        depth: usize,
    ) -> Value {
        let required = words.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut fields = Map::new();
        for (name, schema) in words.get("properties").and_then(Value::as_object).into_iter().flatten() {
            if required.contains(&json!(name)) || random.one_in(3) {
                fields.insert(name.clone(), self.make(schema, random, names, depth + 1));
            }
        }
        Value::Object(fields)
    }
}

fn is_of_type(words: &Map<String, Value>, value: &Value) -> bool {
    let is = |kind: &Value| match kind.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the type '{other}' is not understood"),
    };
    match words.get("type") {
        Some(Value::Array(kinds)) => kinds.iter().any(is),
        Some(kind) => is(kind),
        None => true,
    }
}

fn in_range(words: &Map<String, Value>, value: &Value) -> bool {
    let bound = |word: &str| words.get(word).and_then(Value::as_f64);
    let length = value.as_str().map(|text| text.chars().count() as f64);
    let number = value.as_f64();
    let above =
        |value: Option<f64>, least: Option<f64>| value.zip(least).is_none_or(|(value, least)| value >= least);
    let below =
        |value: Option<f64>, most: Option<f64>| value.zip(most).is_none_or(|(value, most)| value <= most);
    above(number, bound("minimum"))
        && below(number, bound("maximum"))
        && above(length, bound("minLength"))
        && below(length, bound("maxLength"))
}

/// A name that there is, or anything.
pub(super) fn text(random: &mut Random, names: &[String]) -> String {
    if !names.is_empty() && !random.one_in(3) {
        return random.pick(names).clone();
    }
    let odd = [
        "", " ", "é", "a b", "../..", "%", "\u{0}", "null", "00:30", "mon-fri", "vda", "host:1", "😀", "'",
        "\"",
    ];
    match random.below(4) {
        0 => (*random.pick(&odd)).to_owned(),
        1 => "x".repeat(random.below(300)),
        2 => uuid::Uuid::from_u128(u128::from(random.next())).to_string(),
        _ => format!("n{}", random.below(30)),
    }
}

fn number(words: &Map<String, Value>, random: &mut Random) -> Value {
    let least = words.get("minimum").and_then(Value::as_i64).unwrap_or(0);
    let most = words.get("maximum").and_then(Value::as_i64);
    match random.below(6) {
        0 => json!(least),
        1 => json!(most.unwrap_or(i64::MAX)),
        2 => json!(least.saturating_sub(1)),
        3 => json!(most.map_or(u64::MAX, |most| u64::try_from(most.saturating_add(1)).unwrap_or(0))),
        _ => json!(random.below(100_000)),
    }
}
