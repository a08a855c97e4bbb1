//! `src/openapi.json` against the server: every route, method, status and body is as described.
//!
//! An answer with `x-needs: redis` needs a Redis server, so it is not asked for here.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::{Map, Value};

use crate::binary::Binary;
use crate::secrets::File;
use crate::support::{Answer, Connect, http, post, until};

/// One answer that the document describes.
struct Described<'a> {
    path: &'a str,
    method: &'a str,
    status: u16,
    operation: &'a Value,
    /// The description of the answer.
    answer: &'a Value,
}

fn document() -> Value {
    serde_json::from_str(include_str!("../../src/openapi.json")).expect("it is JSON")
}

/// Follows a reference within the document.
#[track_caller]
fn resolved<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(name) => {
            let found = document.pointer(name.strip_prefix('#').expect("it is local"));
            found.unwrap_or_else(|| panic!("{name} does not exist"))
        }
        None => value,
    }
}

fn object(value: &Value) -> &Map<String, Value> {
    value
        .as_object()
        .unwrap_or_else(|| panic!("no object: {value}"))
}

fn answers(document: &Value) -> Vec<Described<'_>> {
    let mut all = Vec::new();
    for (path, methods) in object(&document["paths"]) {
        for (method, operation) in object(methods) {
            for (status, answer) in object(&operation["responses"]) {
                let answer = resolved(document, answer);
                if answer["x-needs"] == "redis" {
                    continue;
                }
                all.push(Described {
                    path,
                    method,
                    status: status.parse().expect("a status"),
                    operation,
                    answer,
                });
            }
        }
    }
    all
}

/// Returns what is wrong with a value, by the keywords of JSON Schema that the document uses.
fn violation(document: &Value, schema: &Value, value: &Value) -> Option<String> {
    let schema = resolved(document, schema);
    let wrong = |what: &str| Some(format!("{what}: {value} by {schema}"));
    for (keyword, rule) in object(schema) {
        match &**keyword {
            "type" => {
                let is = |name: &Value| match name.as_str() {
                    Some("object") => value.is_object(),
                    Some("array") => value.is_array(),
                    Some("string") => value.is_string(),
                    Some("integer") => value.is_u64(),
                    Some("number") => value.is_number(),
                    Some("boolean") => value.is_boolean(),
                    Some("null") => value.is_null(),
                    _ => panic!("unknown type {name}"),
                };
                let is_any = rule
                    .as_array()
                    .map_or_else(|| is(rule), |names| names.iter().any(is));
                if !is_any {
                    return wrong("type");
                }
            }
            "properties" | "description" | "default" => {}
            "required" => {
                for name in rule.as_array().expect("a list") {
                    if value.get(name.as_str().expect("a name")).is_none() {
                        return wrong(&format!("{name} is missing"));
                    }
                }
            }
            "additionalProperties" => {
                let known = object(&schema["properties"]);
                if let Some(name) = object(value).keys().find(|name| !known.contains_key(*name)) {
                    return wrong(&format!("{name} is not described"));
                }
            }
            "items" => {
                let items = value.as_array().into_iter().flatten();
                let mut wrong = items.filter_map(|item| violation(document, rule, item));
                if let Some(first) = wrong.next() {
                    return Some(first);
                }
            }
            "oneOf" => {
                let fits = |choice: &&Value| violation(document, choice, value).is_none();
                if rule.as_array().expect("a list").iter().filter(fits).count() != 1 {
                    return wrong("not one of");
                }
            }
            "enum" if !rule.as_array().expect("a list").contains(value) => return wrong("enum"),
            "minimum" if value.as_f64() < rule.as_f64() => return wrong("too small"),
            "maximum" if value.as_f64() > rule.as_f64() => return wrong("too large"),
            "enum" | "minimum" | "maximum" => {}
            "minLength" | "maxLength" | "minItems" | "maxItems" | "uniqueItems" => {}
            _ => panic!("unknown keyword {keyword}"),
        }
    }
    let properties = schema.get("properties").map(object);
    properties
        .into_iter()
        .flatten()
        .find_map(|(name, schema)| violation(document, schema, value.get(name)?))
}

/// Checks that the answer is as described.
#[track_caller]
fn check(document: &Value, described: &Described<'_>, answer: &Answer) {
    let Described {
        path,
        method,
        status,
        ..
    } = described;
    let name = format!("{method} {path} {status}");
    assert_eq!(answer.status, *status, "{name}: {answer:?}");
    let Some(contents) = described.answer.get("content").map(object) else {
        assert_eq!(answer.body, "", "{name}: a body is not described");
        return;
    };
    let kind = answer.header("content-type").unwrap_or("none");
    let kind = kind.split(';').next().unwrap_or_default();
    let content = contents
        .get(kind)
        .unwrap_or_else(|| panic!("{name}: {kind} is not described"));
    if kind == "application/json" {
        let body =
            serde_json::from_str(&answer.body).unwrap_or_else(|error| panic!("{name}: {error}"));
        let wrong = violation(document, &content["schema"], &body);
        assert_eq!(wrong, None, "{name}");
    } else {
        assert!(!answer.body.is_empty(), "{name}");
    }
}

/// Servers that are in the states that the answers need.
struct Servers {
    /// Everything is allowed from here.
    open: Binary,
    /// A key and a token are required.
    locked: Binary,
    /// There is one topic, and no more are made.
    full: Binary,
    _files: [File; 2],
}

impl Servers {
    fn start() -> Servers {
        let files = [
            File::new("openapi-keys", "key\n"),
            File::new("openapi-tokens", "token\n"),
        ];
        let flags = [
            "--publish-key-file",
            files[0].path(),
            "--token-file",
            files[1].path(),
        ];
        Servers {
            open: Binary::start(&["--topic", "*:history=10", "--max-message", "1KiB"]),
            locked: Binary::start(&flags),
            full: Binary::start(&["--max-topics", "1"]),
            _files: files,
        }
    }

    /// Sends the request that is to be answered with a status.
    #[track_caller]
    fn ask(&self, described: &Described<'_>) -> Answer {
        let Described {
            path,
            method,
            status,
            operation,
            ..
        } = described;
        let name = match (status, *path) {
            (400, _) => "a%00b",
            (404, _) => "unknown",
            (503, _) => "other",
            _ => "news",
        };
        let concrete = path.replace("{topic}", name).replace("{user}", name);
        let concrete = concrete.replace("{client}", "999999");
        let server = match status {
            401 => &self.locked,
            503 => &self.full,
            _ => &self.open,
        };
        if operation["responses"].get("101").is_some() && *status != 426 {
            let connect = Connect::to(server.address).path(&concrete);
            let connect = match status {
                403 => connect.header("Origin: https://elsewhere.example"),
                _ => connect,
            };
            let connect = match (*path, status) {
                ("/ws", 101) => connect.header("Sec-WebSocket-Protocol: standpipe.v1"),
                _ => connect,
            };
            return match status {
                101 => connect.request().1,
                _ => http(server.address, connect.head()),
            };
        }
        let body = match status {
            400 => "[".into(),
            413 => "x".repeat(5000),
            _ => example(operation),
        };
        let header = match status {
            403 => "Origin: https://elsewhere.example\r\n",
            415 => "Content-Encoding: gzip\r\n",
            _ => "",
        };
        let length = match status {
            411 => String::new(),
            _ => format!("Content-Length: {}\r\n", body.len()),
        };
        let body = if *status == 411 || *method == "get" {
            ""
        } else {
            &body
        };
        let length = if *method == "get" { "" } else { &*length };
        let method = method.to_uppercase();
        let head = format!(
            "{method} {concrete} HTTP/1.1\r\nHost: {}\r\n",
            server.address
        );
        let kind = "Content-Type: text/plain\r\nConnection: close\r\n";
        http(
            server.address,
            format!("{head}{kind}{header}{length}\r\n{body}"),
        )
    }
}

/// Returns the first example of a body.
fn example(operation: &Value) -> String {
    let Some(contents) = operation.pointer("/requestBody/content").map(object) else {
        return String::new();
    };
    let mut examples = contents
        .values()
        .filter_map(|content| content.get("example"));
    match examples.next().expect("a body has an example") {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[track_caller]
fn fill(address: SocketAddr) {
    for (kind, body) in [
        ("text/plain", "x"),
        ("application/json", "[1]"),
        ("a/b", "\0"),
    ] {
        let kind = format!("Content-Type: {kind}\r\n");
        assert_eq!(post(address, "/publish/news", &kind, body).status, 202);
    }
}

#[test]
fn every_described_answer_is_given() {
    let document = document();
    let servers = Servers::start();
    let _members = [&servers.open, &servers.full].map(|server| server.connect("/ws/news?name=ann"));
    fill(servers.open.address);
    let mut count = 0;
    for described in answers(&document) {
        if (described.path, described.status) == ("/readyz", 503) {
            continue;
        }
        check(&document, &described, &servers.ask(&described));
        count += 1;
    }
    assert!(count > 60, "{count}");
    // The last one: a server that is shutting down.
    let draining = Binary::start(&["--drain-delay", "60s"]);
    draining.signal("TERM");
    let described = answers(&document);
    let mut described = described.iter().filter(|answer| answer.path == "/readyz");
    let described = described
        .find(|answer| answer.status == 503)
        .expect("it is described");
    until("the server drains", || {
        draining.get("/readyz").status == 503
    });
    check(&document, described, &draining.get("/readyz"));
}

#[test]
fn described_methods_are_the_allowed_ones() {
    let document = document();
    let binary = Binary::start(&[]);
    for (path, methods) in object(&document["paths"]) {
        let concrete = path.replace(['{', '}'], "").replace("/client/", "/1/");
        let head = format!("PATCH {concrete} HTTP/1.1\r\nHost: {}\r\n", binary.address);
        let answer = http(binary.address, format!("{head}Connection: close\r\n\r\n"));
        assert_eq!(answer.status, 405, "{path}: {answer:?}");
        let allowed = answer
            .header("allow")
            .unwrap_or_else(|| panic!("{path}: {answer:?}"));
        let allowed: BTreeSet<&str> = allowed.split(", ").filter(|name| *name != "HEAD").collect();
        let described: Vec<String> = object(methods)
            .keys()
            .map(|name| name.to_uppercase())
            .collect();
        let described: BTreeSet<&str> = described.iter().map(String::as_str).collect();
        assert_eq!(allowed, described, "{path}");
    }
}

/// The routes are the patterns of a `match`, such as `["topics", topic, "history"] =>`.
/// Readers of OpenAPI ignore or refuse what stands beside a `$ref`.
#[test]
fn references_stand_alone() {
    let document = document();
    let mut rest = vec![&document];
    while let Some(value) = rest.pop() {
        if value.get("$ref").is_some_and(Value::is_string) {
            assert_eq!(object(value).len(), 1, "{value}");
        }
        match value {
            Value::Object(fields) => rest.extend(fields.values()),
            Value::Array(elements) => rest.extend(elements),
            _ => {}
        }
    }
}

#[test]
fn every_route_is_described() {
    let source = include_str!("../../src/cli/routes.rs");
    let (_, routes) = source.split_once("match path[..] {").expect("the routes");
    let (routes, _) = routes
        .split_once("_ => Err(not_found())")
        .expect("the last route");
    let patterns = routes.lines().filter_map(|line| {
        let (pattern, _) = line.trim().strip_prefix('[')?.split_once(']')?;
        Some(pattern)
    });
    let routes: BTreeSet<String> = patterns
        .map(|pattern| {
            let segments = pattern
                .split(", ")
                .map(|segment| match segment.strip_prefix('"') {
                    Some(literal) => literal.trim_end_matches('"'),
                    // The only name that stands for a constant.
                    None if segment == "live" => "live",
                    None if segment.is_empty() => "",
                    None => "{}",
                });
            format!("/{}", segments.collect::<Vec<_>>().join("/"))
        })
        .collect();
    assert!(routes.len() > 15, "{routes:?}");
    let document = document();
    let described: BTreeSet<String> = object(&document["paths"])
        .keys()
        .map(|path| {
            let segments = path.split('/');
            let segments = segments.map(|segment| {
                if segment.starts_with('{') {
                    "{}"
                } else {
                    segment
                }
            });
            segments.collect::<Vec<_>>().join("/")
        })
        .collect();
    assert_eq!(routes, described);
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn examples_of_bodies_are_as_described() {
    let document = document();
    let mut count = 0;
    for methods in object(&document["paths"]).values() {
        for operation in object(methods).values() {
            let content = operation.pointer("/requestBody/content/application~1json");
            if let Some((content, example)) = content.and_then(|c| Some((c, c.get("example")?))) {
                assert_eq!(violation(&document, &content["schema"], example), None);
                count += 1;
            }
        }
    }
    assert_eq!(count, 3);
}
