//! The document as one page of HTML that loads nothing: no script, no font, no network.

use std::fmt::Write;

use serde_json::{Map, Value};

use crate::about::escaped;

const STYLE: &str = include_str!("page.css");

/// The methods of an address, in the order in which they are shown.
const METHODS: &[&str] = &["get", "post", "put", "patch", "delete"];

/// The page. An operation is at `#<operationId>`, a schema at `#schema-<name>`.
pub(super) fn render(document: &Value) -> String {
    let title = text(document, "/info/title");
    let version = text(document, "/info/version");
    let mut page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content=\"width=device-width\"><title>{title} API</title>\
         <style>{STYLE}</style>"
    );
    let _ = write!(
        page,
        "<nav><b>{title}</b> <span class=soft>{version}</span>"
    );
    let groups = groups(document);
    for (tag, operations) in &groups {
        let _ = write!(page, "<h2>{}</h2><ul>", escaped(&text(tag, "/name")));
        for operation in operations {
            let (id, summary) = (operation.text("/operationId"), operation.text("/summary"));
            let _ = write!(page, "<li><a href=\"#{id}\">{summary}</a>");
        }
        page.push_str("</ul>");
    }
    page.push_str("<h2>schemas</h2><ul>");
    let schemas = object(document, "/components/schemas");
    for name in schemas.keys() {
        let _ = write!(page, "<li><a href=\"#schema-{name}\">{name}</a>");
    }
    let _ = write!(
        page,
        "</ul></nav><main><h1>{title}</h1>{}<p class=soft>The same for programs: \
         <a href=\"/openapi.json\">OpenAPI {}</a>. Every error code has \
         <a href=\"/errors\">its page</a>.",
        prose(&text(document, "/info/description")),
        text(document, "/openapi"),
    );
    for (tag, operations) in &groups {
        let (name, description) = (text(tag, "/name"), text(tag, "/description"));
        let _ = write!(page, "<section><h2>{name}</h2>{}", prose(&description));
        for operation in operations {
            operation.write(&mut page);
        }
        page.push_str("</section>");
    }
    page.push_str("<section><h2>Schemas</h2>");
    for (name, schema) in &schemas {
        let _ = write!(page, "<article id=\"schema-{name}\"><h3>{name}</h3>");
        write_schema(&mut page, schema);
        page.push_str("</article>");
    }
    page.push_str("</section></main></html>\n");
    page
}

/// One method of one address.
struct Operation<'a> {
    method: &'static str,
    path: &'a str,
    value: &'a Value,
}

/// The operations of each tag that has any, as the document orders them.
fn groups(document: &Value) -> Vec<(&Value, Vec<Operation<'_>>)> {
    let mut operations = Vec::new();
    for (path, methods) in document
        .get("paths")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        for method in METHODS {
            if let Some(value) = methods.get(method) {
                operations.push(Operation {
                    method,
                    path,
                    value,
                });
            }
        }
    }
    let tags = document.get("tags").and_then(Value::as_array);
    let mut groups: Vec<_> = tags
        .into_iter()
        .flatten()
        .map(|tag| (tag, Vec::new()))
        .collect();
    for operation in operations {
        let tag = operation.value.pointer("/tags/0");
        let group = groups
            .iter_mut()
            .find(|(group, _)| group.get("name") == tag);
        if let Some((_, operations)) = group {
            operations.push(operation);
        }
    }
    groups.retain(|(_, operations)| !operations.is_empty());
    groups
}

impl Operation<'_> {
    fn text(&self, pointer: &str) -> String {
        escaped(&text(self.value, pointer))
    }

    fn write(&self, page: &mut String) {
        let method = self.method.to_uppercase();
        let _ = write!(
            page,
            "<article id=\"{}\"><h3>{}</h3><p class=address><code class=\"method {method}\">{method}\
             </code> <code>{}</code></p>{}",
            self.text("/operationId"),
            self.text("/summary"),
            escaped(self.path),
            prose(&text(self.value, "/description")),
        );
        self.write_parameters(page);
        if let Some(media) = self.value.pointer("/requestBody/content/application~1json") {
            page.push_str("<h4>Body</h4>");
            write_schema(page, media.get("schema").unwrap_or(&Value::Null));
            write_example(page, media);
        }
        self.write_answers(page);
        page.push_str("</article>");
    }

    fn write_parameters(&self, page: &mut String) {
        let parameters = self.value.get("parameters").and_then(Value::as_array);
        let (every, own): (Vec<_>, Vec<_>) =
            parameters.into_iter().flatten().partition(|parameter| {
                ["Correlation-Id", "traceparent"].contains(&&*text(parameter, "/name"))
            });
        if !own.is_empty() {
            page.push_str("<h4>Parameters</h4><table>");
        }
        for parameter in &own {
            let needed = if parameter.get("required") == Some(&Value::Bool(true)) {
                " <span class=needed>required</span>"
            } else {
                ""
            };
            let schema = parameter.get("schema").unwrap_or(&Value::Null);
            let mut said = prose(&text(parameter, "/description"));
            if said.is_empty() {
                said = prose(&text(schema, "/description"));
            }
            let _ = write!(
                page,
                "<tr><td><code>{}</code>{needed}<br><span class=soft>{}</span><td>{}<td>{said}",
                escaped(&text(parameter, "/name")),
                escaped(&text(parameter, "/in")),
                kind(schema),
            );
        }
        if !own.is_empty() {
            page.push_str("</table>");
        }
        if !every.is_empty() {
            let names: Vec<_> = every
                .iter()
                .map(|parameter| format!("<code>{}</code>", escaped(&text(parameter, "/name"))))
                .collect();
            let _ = write!(
                page,
                "<p class=soft>And, as everywhere: {}.",
                names.join(", ")
            );
        }
    }

    fn write_answers(&self, page: &mut String) {
        let responses = object(self.value, "/responses");
        page.push_str("<h4>Answers</h4>");
        for (status, response) in &responses {
            let content = object(response, "/content");
            if content
                .keys()
                .all(|media_type| media_type == "application/problem+json")
                && !content.is_empty()
            {
                continue;
            }
            let _ = write!(
                page,
                "<p><span class=status>{status}</span> {}",
                line(&text(response, "/description"))
            );
            for (media_type, media) in &content {
                if media_type == "application/problem+json" {
                    continue;
                }
                let schema = media.get("schema").unwrap_or(&Value::Null);
                let _ = write!(
                    page,
                    " <span class=soft>{media_type}</span> {}",
                    kind(schema)
                );
            }
            write_headers(page, response);
            for media in content.values() {
                write_example(page, media);
            }
        }
        page.push_str("<details><summary>Errors</summary><table>");
        for (status, response) in &responses {
            let codes = response
                .pointer("/content/application~1problem+json/schema/properties/code/enum")
                .and_then(Value::as_array);
            for code in codes.into_iter().flatten().filter_map(Value::as_str) {
                let said = text(response, "/description");
                let title = said
                    .lines()
                    .find_map(|line| line.strip_prefix(&format!("- [`{code}`](/errors/{code}): ")))
                    .unwrap_or_default();
                let _ = write!(
                    page,
                    "<tr><td><a href=\"/errors/{code}\"><code>{code}</code></a><td>{status}<td>{}",
                    escaped(title)
                );
            }
        }
        page.push_str("</table></details>");
    }
}

fn write_headers(page: &mut String, response: &Value) {
    let headers = object(response, "/headers");
    let own: Vec<_> = headers
        .iter()
        .filter(|(name, _)| !["Correlation-Id", "traceparent"].contains(&name.as_str()))
        .collect();
    if own.is_empty() {
        return;
    }
    page.push_str("<table>");
    for (name, header) in own {
        let _ = write!(
            page,
            "<tr><td><code>{name}</code><td class=soft>{}<td>{}",
            if header.get("required") == Some(&Value::Bool(true)) {
                "always"
            } else {
                "sometimes"
            },
            prose(&text(header, "/description")),
        );
    }
    page.push_str("</table>");
}

/// What a schema is, with each field of an object.
fn write_schema(page: &mut String, schema: &Value) {
    page.push_str(&prose(&text(schema, "/description")));
    let properties = object(schema, "/properties");
    if properties.is_empty() {
        let choices = schema.get("oneOf").and_then(Value::as_array);
        let Some(choices) = choices.filter(|choices| choices.iter().any(is_constant)) else {
            let _ = write!(page, "<p>{}", kind(schema));
            return;
        };
        page.push_str("<table>");
        for choice in choices {
            let said = prose(&text(choice, "/description"));
            let _ = write!(page, "<tr><td>{}<td colspan=2>{said}", kind(choice));
        }
        page.push_str("</table>");
        return;
    }
    page.push_str("<table>");
    write_fields(page, schema, "");
    page.push_str("</table>");
}

fn write_fields(page: &mut String, schema: &Value, prefix: &str) {
    let properties = object(schema, "/properties");
    let required: Vec<_> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    // Those that must be there come first, in the order in which they are declared.
    let first = required.iter().copied();
    let rest = properties.keys().map(String::as_str);
    let rest = rest.filter(|name| !required.contains(name));
    for name in first.chain(rest) {
        let field = properties.get(name).unwrap_or(&Value::Null);
        let path = format!("{prefix}{name}");
        let needed = if required.contains(&name) {
            ""
        } else {
            "<br><span class=soft>may be absent</span>"
        };
        let _ = write!(
            page,
            "<tr><td><code>{path}</code>{needed}<td>{}<td>{}",
            kind(field),
            prose(&text(field, "/description")),
        );
        if field.get("properties").is_some() {
            write_fields(page, field, &format!("{path}."));
        } else if let Some(items) = field
            .get("items")
            .filter(|items| items.get("properties").is_some())
        {
            write_fields(page, items, &format!("{path}[]."));
        }
    }
}

fn is_constant(choice: &Value) -> bool {
    choice.get("const").is_some() || choice.get("enum").is_some()
}

/// What a value may be, in a few words.
fn kind(schema: &Value) -> String {
    let list = |key: &str| schema.get(key).and_then(Value::as_array);
    if let Some(name) = schema.get("$ref").and_then(Value::as_str) {
        let name = escaped(name.rsplit('/').next().unwrap_or_default());
        return format!("<a href=\"#schema-{name}\">{name}</a>");
    }
    let literal = |value: &Value| format!("<code>{}</code>", escaped(&value.to_string()));
    if let Some(value) = schema.get("const") {
        return literal(value);
    }
    if let Some(values) = list("enum") {
        return values.iter().map(literal).collect::<Vec<_>>().join(" ");
    }
    if let Some(choices) = list("oneOf").or_else(|| list("anyOf")) {
        return choices.iter().map(kind).collect::<Vec<_>>().join(" or ");
    }
    if let Some([one]) = list("allOf").map(Vec::as_slice) {
        return kind(one);
    }
    if let Some(items) = schema.get("items") {
        return format!("list of {}{}", kind(items), bounds(schema));
    }
    match schema.get("type").and_then(Value::as_str) {
        Some("object") => "object".to_owned(),
        Some(name) => {
            let format = text(schema, "/format");
            let name = if ["uuid", "date-time"].contains(&&*format) {
                &format
            } else {
                name
            };
            format!("{}{}", escaped(name), bounds(schema))
        }
        None => "any JSON".to_owned(),
    }
}

fn bounds(schema: &Value) -> String {
    let bound = |key: &str| schema.get(key).map(Value::to_string);
    let between = |least: Option<String>, most: Option<String>| match (least, most) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}")),
        (Some(least), None) => Some(format!("at least {least}")),
        (None, Some(most)) => Some(format!("at most {most}")),
        (None, None) => None,
    };
    let mut said = Vec::new();
    said.extend(between(bound("minimum"), bound("maximum")));
    let lengths = between(bound("minLength"), bound("maxLength"));
    said.extend(lengths.map(|lengths| format!("{lengths} characters")));
    let items = between(bound("minItems"), bound("maxItems"));
    said.extend(items.map(|items| format!("{items} items")));
    said.extend(
        bound("pattern").map(|_| format!("<code>{}</code>", escaped(&text(schema, "/pattern")))),
    );
    said.extend(bound("default").map(|default| format!("default {default}")));
    if said.is_empty() {
        return String::new();
    }
    format!("<br><span class=soft>{}</span>", said.join(", "))
}

fn write_example(page: &mut String, media: &Value) {
    let Some(example) = media.get("example") else {
        return;
    };
    let shown = match example {
        Value::String(text) => text.clone(),
        json => serde_json::to_string_pretty(json).unwrap_or_default(),
    };
    let _ = write!(page, "<pre>{}</pre>", escaped(&shown));
}

/// Paragraphs of Markdown that has code and nothing else.
fn prose(markdown: &str) -> String {
    let paragraphs = markdown
        .split("\n\n")
        .filter(|text| !text.trim().is_empty());
    paragraphs
        .map(|text| format!("<p>{}</p>", line(text)))
        .collect()
}

fn line(markdown: &str) -> String {
    let parts = markdown.split('`').enumerate();
    parts
        .map(|(index, part)| match index % 2 {
            0 => escaped(part),
            _ => format!("<code>{}</code>", escaped(part)),
        })
        .collect()
}

fn text(value: &Value, pointer: &str) -> String {
    let text = value.pointer(pointer).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

fn object(value: &Value, pointer: &str) -> Map<String, Value> {
    let object = value.pointer(pointer).and_then(Value::as_object);
    object.cloned().unwrap_or_default()
}
