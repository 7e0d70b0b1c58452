//! The OpenAPI document, made from descriptions that stand beside the routes.

use serde::Serialize;
use serde_json::{Map, Value, json};

/// One method of one path.
#[derive(Clone, Debug, Serialize)]
pub struct Operation {
    method: &'static str,
    path: String,
    at_root: bool,
    open: bool,
    summary: String,
    parameters: Vec<Value>,
    body: Option<Value>,
    responses: Vec<(u16, String, String, Value)>,
}

impl Operation {
    /// An operation; `path` in the notation of axum: `/quotes/{id}`.
    pub fn new(method: &'static str, path: impl Into<String>, summary: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            at_root: false,
            open: false,
            summary: summary.into(),
            parameters: Vec::new(),
            body: None,
            responses: Vec::new(),
        }
    }

    /// `GET`.
    pub fn get(path: impl Into<String>, summary: impl Into<String>) -> Self {
        Self::new("get", path, summary)
    }

    /// `POST`. The header `Idempotency-Key` is described with it.
    pub fn post(path: impl Into<String>, summary: impl Into<String>) -> Self {
        let key = json!({"name": "Idempotency-Key", "in": "header", "required": false, "schema": {"type": "string", "maxLength": 128},
            "description": "A repeated request with the same key and content is answered with the first answer and done once."});
        let mut operation = Self::new("post", path, summary);
        operation.parameters.push(key);
        operation
    }

    /// `PUT`.
    pub fn put(path: impl Into<String>, summary: impl Into<String>) -> Self {
        Self::new("put", path, summary)
    }

    /// The path is from the root, not below the service's own prefix.
    #[must_use]
    pub const fn at_root(mut self) -> Self {
        self.at_root = true;
        self
    }

    /// No token is needed.
    #[must_use]
    pub const fn open(mut self) -> Self {
        self.open = true;
        self
    }

    /// A parameter in the query.
    #[must_use]
    pub fn query(mut self, name: &str, description: &str, schema: Value) -> Self {
        self.parameters
            .push(json!({"name": name, "in": "query", "required": false, "description": description, "schema": schema}));
        self
    }

    /// The schema of the JSON body.
    #[must_use]
    pub fn body(mut self, schema: Value) -> Self {
        self.body = Some(schema);
        self
    }

    /// An answer in JSON.
    #[must_use]
    pub fn answer(self, status: u16, description: &str, schema: Value) -> Self {
        self.answer_as(status, description, "application/json", schema)
    }

    /// An answer in another content type.
    #[must_use]
    pub fn answer_as(mut self, status: u16, description: &str, content_type: &str, schema: Value) -> Self {
        self.responses.push((status, description.to_owned(), content_type.to_owned(), schema));
        self
    }

    /// Method in lower case and the path below `prefix`, unless it is [`at_root`](Self::at_root).
    pub fn route(&self, prefix: &str) -> (&'static str, String) {
        if self.at_root {
            return (self.method, self.path.clone());
        }
        // axum serves the root of a nested router under the prefix without a slash at its end.
        let path = format!("{prefix}{}", self.path.trim_end_matches('/'));
        (self.method, if path.is_empty() { "/".to_owned() } else { path })
    }

    fn render(&self, path: &str, tag: &str) -> Value {
        let mut parameters: Vec<Value> = path
            .split('/')
            .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| json!({"name": name.trim_start_matches('*'), "in": "path", "required": true, "schema": {"type": "string"}}))
            .collect();
        parameters.extend(self.parameters.iter().cloned());
        let mut responses = Map::new();
        for (status, description, content_type, schema) in &self.responses {
            let mut content = Map::new();
            content.insert(content_type.clone(), json!({"schema": schema}));
            responses.insert(status.to_string(), json!({"description": description, "content": content}));
        }
        responses.insert("default".to_owned(), json!({"$ref": "#/components/responses/Error"}));
        let name: String = format!("{} {path}", self.method)
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("_");
        let mut made = json!({"operationId": name, "tags": [tag], "summary": self.summary, "parameters": parameters, "responses": responses});
        if let Some(made) = made.as_object_mut() {
            if let Some(schema) = &self.body {
                made.insert(
                    "requestBody".to_owned(),
                    json!({"required": true, "content": {"application/json": {"schema": schema}}}),
                );
            }
            if self.open {
                made.insert("security".to_owned(), json!([]));
            }
        }
        made
    }
}

/// A group of operations with a common prefix.
#[derive(Clone, Debug)]
pub struct Group {
    /// Name in the document: `node`, or the name of a service.
    pub tag: String,
    /// Prefix of the paths.
    pub prefix: String,
    /// The operations.
    pub operations: Vec<Operation>,
}

/// The whole document. `tokens` tells whether a bearer token is needed where nothing else is said.
pub fn document(version: &str, groups: &[Group], tokens: bool) -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for group in groups {
        for operation in &group.operations {
            let (method, path) = operation.route(&group.prefix);
            let rendered = operation.render(&path, &group.tag);
            // `{*rest}` is axum's way to write a path parameter that spans segments.
            let item = paths.entry(path.replace("{*", "{")).or_insert_with(|| json!({}));
            if let Some(item) = item.as_object_mut() {
                item.insert(method.to_owned(), rendered);
            }
        }
    }
    let security = if tokens { json!([{"token": []}]) } else { json!([]) };
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Windlass", "version": version, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "security": security,
        "paths": paths,
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": error_schema()},
            "responses": {"Error": {
                "description": "The request was not carried out.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
            }}
        }
    })
}

fn error_schema() -> Value {
    json!({
        "type": "object",
        "required": ["request_id", "code", "message"],
        "properties": {
            "request_id": {"type": "string", "description": "Also in the header x-request-id and in the log."},
            "code": {"type": "string", "description": "One word with underscores, for programs."},
            "message": {"type": "string", "description": "What is wrong, for people."},
            "hint": {"type": "string", "description": "What can be done."}
        }
    })
}
