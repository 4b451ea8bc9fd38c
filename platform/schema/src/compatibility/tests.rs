use serde_json::json;

use super::*;

/// A schema with a bit of everything.
fn committed() -> Value {
    json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 1, "pattern": "^a"},
            "count": {"type": "integer", "format": "uint32", "minimum": 1, "maximum": 10},
            "note": {"type": ["string", "null"]},
            "final": {"type": "boolean", "default": false},
            "price": {"$ref": "#/$defs/Money"},
            "lines": {"type": "array", "items": {"$ref": "#/$defs/Line"}},
            "status": {"$ref": "#/$defs/Status"},
            "way": {"enum": ["there", "back"]},
            "paid": {"$ref": "#/$defs/Paid"},
            "tags": {"type": "object", "additionalProperties": {"type": "string"}},
            "kind": {"type": "string"},
            "content": {"x-data-of": "kind"},
        },
        "required": ["name", "count", "price", "lines"],
        "$defs": {
            "Money": {
                "type": "object",
                "properties": {"amount": {"type": "integer"}},
                "required": ["amount"],
                "additionalProperties": false,
            },
            "Line": {"type": "object", "properties": {"price": {"$ref": "#/$defs/Money"}}},
            "Status": {"oneOf": [{"const": "open"}, {"const": "shut"}], "x-extensible": true},
            "Paid": {
                "oneOf": [
                    {"type": "object",
                     "properties": {"how": {"const": "card"}, "token": {"$ref": "#/$defs/Token"}},
                     "required": ["how", "token"]},
                    {"type": "object",
                     "properties": {"how": {"const": "cash"}},
                     "required": ["how"]},
                ],
                "x-extensible": true,
            },
            "Token": {"type": "string", "x-secret": true},
        },
    })
}

/// What a change breaks, as `path rule`.
fn broken_by(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut present = committed();
    change(&mut present);
    assert_ne!(present, committed(), "the change changes something");
    check(&committed(), &present)
        .iter()
        .map(|breach| format!("{} {}", breach.path, breach.rule.code()))
        .collect()
}

fn set(at: &str, value: Value) -> impl FnOnce(&mut Value) {
    move |schema| *schema.pointer_mut(at).unwrap() = value
}

fn put(at: &str, name: &str, value: Value) -> impl FnOnce(&mut Value) {
    move |schema| {
        let fields = schema.pointer_mut(at).unwrap().as_object_mut().unwrap();
        fields.insert(name.to_owned(), value);
    }
}

fn remove(at: &str, name: &str) -> impl FnOnce(&mut Value) {
    move |schema| {
        let fields = schema.pointer_mut(at).unwrap().as_object_mut().unwrap();
        fields.remove(name).unwrap();
    }
}

const NOTHING: [&str; 0] = [];

#[test]
fn a_schema_breaks_nothing_of_itself() {
    assert_eq!(check(&committed(), &committed()), []);
}

#[test]
fn words_may_change() {
    assert_eq!(broken_by(put("", "description", json!("new"))), NOTHING);
    assert_eq!(
        broken_by(put("/$defs/Money", "title", json!("new"))),
        NOTHING
    );
}

#[test]
fn a_definition_may_be_renamed_or_written_out() {
    let money = committed().pointer("/$defs/Money").cloned().unwrap();
    assert_eq!(broken_by(set("/properties/price", money)), NOTHING);
}

#[test]
fn an_optional_field_may_come() {
    let new = put("/properties", "more", json!({"type": "string"}));
    assert_eq!(broken_by(new), NOTHING);
    let deep = put("/$defs/Line/properties", "more", json!({"type": "string"}));
    assert_eq!(broken_by(deep), NOTHING);
}

#[test]
fn an_optional_field_may_not_come_where_unknown_ones_are_refused() {
    let new = put("/$defs/Money/properties", "more", json!({"type": "string"}));
    assert_eq!(
        broken_by(new),
        [
            "lines[].price.more field-unexpected",
            "price.more field-unexpected"
        ]
    );
}

#[test]
fn a_required_field_may_not_come() {
    let change = |schema: &mut Value| {
        put("/properties", "more", json!({"type": "string"}))(schema);
        schema["required"]
            .as_array_mut()
            .unwrap()
            .push(json!("more"));
    };
    assert_eq!(broken_by(change), ["more field-required"]);
}

#[test]
fn a_field_may_not_go_even_where_it_is_optional() {
    assert_eq!(
        broken_by(remove("/properties", "note")),
        ["note field-removed"]
    );
}

#[test]
fn a_field_stays_as_optional_or_required_as_it_is() {
    let optional = set("/required", json!(["name", "count", "price"]));
    assert_eq!(broken_by(optional), ["lines field-optional"]);
    let required = set(
        "/required",
        json!(["name", "count", "price", "lines", "note"]),
    );
    assert_eq!(broken_by(required), ["note field-required"]);
}

#[test]
fn a_type_may_not_change() {
    let text = set("/properties/final/type", json!("string"));
    assert_eq!(broken_by(text), ["final type-changed"]);
    let nothing = set("/properties/note/type", json!("string"));
    assert!(broken_by(nothing).contains(&"note choice-removed".to_owned()));
    let list = remove("/properties/lines", "items");
    assert_eq!(broken_by(list), ["lines[] type-changed"]);
    let values = set(
        "/properties/tags/additionalProperties/type",
        json!("integer"),
    );
    assert_eq!(broken_by(values), ["tags.* type-changed"]);
}

#[test]
fn a_closed_choice_may_neither_grow_nor_shrink() {
    let grown = set("/properties/way/enum", json!(["there", "back", "round"]));
    assert_eq!(broken_by(grown), ["way choice-added"]);
    let shrunk = set("/properties/way/enum", json!(["there"]));
    assert_eq!(broken_by(shrunk), ["way choice-removed"]);
}

#[test]
fn an_extensible_choice_may_grow_and_not_shrink() {
    let grown = set(
        "/$defs/Status/oneOf",
        json!([{"const": "open"}, {"const": "shut"}, {"const": "lost"}]),
    );
    assert_eq!(broken_by(grown), NOTHING);
    let shrunk = set("/$defs/Status/oneOf", json!([{"const": "open"}]));
    assert_eq!(broken_by(shrunk), ["status choice-removed"]);
}

#[test]
fn a_choice_is_not_declared_extensible_afterwards() {
    let opened = put("/properties/way", "x-extensible", json!(true));
    assert_eq!(broken_by(opened), ["way opened"]);
}

#[test]
fn what_a_variant_holds_is_held_to_the_same_rules() {
    let change = put(
        "/$defs/Paid/oneOf/1/properties",
        "coins",
        json!({"type": "integer"}),
    );
    assert_eq!(broken_by(change), NOTHING);
    let change = set("/$defs/Paid/oneOf/0/required", json!(["how"]));
    assert_eq!(broken_by(change), ["paid.token field-optional"]);
}

#[test]
fn bounds_may_neither_narrow_nor_widen() {
    for (bound, value, rule) in [
        ("maximum", 9, "narrowed"),
        ("maximum", 11, "widened"),
        ("minimum", 2, "narrowed"),
        ("minimum", 0, "widened"),
    ] {
        let at = format!("/properties/count/{bound}");
        let change = set(&at, json!(value));
        assert_eq!(broken_by(change), [format!("count {rule}")]);
    }
    let gone = remove("/properties/name", "minLength");
    assert_eq!(broken_by(gone), ["name widened"]);
    let come = put("/properties/lines", "maxItems", json!(100));
    assert_eq!(broken_by(come), ["lines narrowed"]);
}

#[test]
fn a_pattern_or_format_may_not_change() {
    let pattern = set("/properties/name/pattern", json!("^b"));
    assert_eq!(broken_by(pattern), ["name format-changed"]);
    let format = remove("/properties/count", "format");
    assert_eq!(broken_by(format), ["count format-changed"]);
}

#[test]
fn what_an_absent_field_stands_for_may_not_change() {
    let change = set("/properties/final/default", json!(true));
    assert_eq!(broken_by(change), ["final default-changed"]);
}

#[test]
fn unknown_fields_are_treated_as_they_were() {
    let closed = put("/$defs/Line", "additionalProperties", json!(false));
    assert_eq!(broken_by(closed), ["lines[] openness-changed"]);
    let open = remove("/$defs/Money", "additionalProperties");
    assert!(broken_by(open).contains(&"price openness-changed".to_owned()));
}

#[test]
fn a_secret_stays_one() {
    let shown = remove("/$defs/Token", "x-secret");
    assert_eq!(broken_by(shown), ["paid.token secret-shown"]);
}

#[test]
fn what_was_shown_may_be_hidden() {
    let hidden = put("/properties/name", "x-secret", json!(true));
    assert_eq!(broken_by(hidden), NOTHING);
}

#[test]
fn a_new_secret_comes_with_a_new_version() {
    let field = put("/properties", "more", json!({"$ref": "#/$defs/Token"}));
    assert_eq!(broken_by(field), ["more secret-added"]);
    let variant = |schema: &mut Value| {
        let variants = schema.pointer_mut("/$defs/Paid/oneOf").unwrap();
        variants.as_array_mut().unwrap().push(json!({
            "type": "object",
            "properties": {"how": {"const": "cheque"}, "account": {"$ref": "#/$defs/Token"}},
            "required": ["how"],
        }));
    };
    assert_eq!(broken_by(variant), ["paid secret-added"]);
}

#[test]
fn data_keeps_the_field_that_names_its_type() {
    let change = set("/properties/content/x-data-of", json!("name"));
    assert_eq!(broken_by(change), ["content data-of-changed"]);
}

#[test]
fn a_keyword_that_no_rule_speaks_of_may_not_change() {
    let change = put("/properties/lines", "uniqueItems", json!(true));
    assert_eq!(broken_by(change), ["lines not-covered"]);
}

#[test]
fn a_type_that_holds_itself_is_compared_to_an_end() {
    let tree = |extra: Value| {
        json!({
            "$ref": "#/$defs/Tree",
            "$defs": {"Tree": {
                "type": "object",
                "properties": {"of": {"$ref": "#/$defs/Tree"}, "leaf": extra},
            }},
        })
    };
    assert_eq!(
        check(
            &tree(json!({"type": "string"})),
            &tree(json!({"type": "string"}))
        ),
        []
    );
    let broken = check(
        &tree(json!({"type": "string"})),
        &tree(json!({"type": "integer"})),
    );
    assert_eq!(broken.first().unwrap().path, "leaf");
}

#[test]
fn a_breach_says_where_what_and_why() {
    let mut present = committed();
    present["properties"]["count"]["maximum"] = json!(5);
    let said = check(&committed(), &present).first().unwrap().to_string();
    assert_eq!(
        said,
        "`count`: narrowed: old bytes may hold what is no longer allowed \
         (maximum: 10 became 5)"
    );
}
