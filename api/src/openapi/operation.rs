//! One operation of the document, put together from what it takes and what it answers.

use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use super::problems;
use super::schemas::Schemas;
use crate::problem::Code;

/// Who may call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Anyone,
    /// Anyone where buyers need no token; otherwise the buyer, or an admin.
    Buyer,
    Auditor,
    Admin,
}

/// One operation.
pub(super) struct Operation {
    path: &'static str,
    method: &'static str,
    described: Value,
    parameters: Vec<Value>,
    answers: Map<String, Value>,
    codes: Vec<Code>,
}

/// What an operation answers when all is well.
pub(super) struct Answer {
    status: u16,
    described: Value,
}

impl Answer {
    pub(super) fn new(status: u16, description: &str) -> Self {
        let described = json!({ "description": description });
        Self { status, described }
    }

    /// The same with a JSON body.
    pub(super) fn json(self, schema: Value, example: Value) -> Self {
        self.content(
            "application/json",
            json!({ "schema": schema, "example": example }),
        )
    }

    /// The same with a body that is no JSON.
    pub(super) fn text(self, media_type: &str) -> Self {
        self.content(media_type, json!({ "schema": { "type": "string" } }))
    }

    /// The same with one more kind of body.
    pub(super) fn content(mut self, media_type: &str, described: Value) -> Self {
        self.described["content"][media_type] = described;
        self
    }

    /// The same with headers that [`headers`] describes.
    pub(super) fn headers(mut self, names: &[&str]) -> Self {
        for &name in names {
            self.described["headers"][name] =
                json!({ "$ref": format!("#/components/headers/{name}") });
        }
        self
    }

    /// The same with headers that are there in some cases only.
    pub(super) fn may_have(mut self, names: &[&str]) -> Self {
        for &name in names {
            let mut header = headers()[name].take();
            header["required"] = json!(false);
            self.described["headers"][name] = header;
        }
        self
    }
}

impl Operation {
    fn new(method: &'static str, path: &'static str, id: &str, summary: &str) -> Self {
        Self {
            path,
            method,
            described: json!({ "operationId": id, "summary": summary }),
            parameters: in_path(path),
            answers: Map::new(),
            codes: vec![Code::Internal],
        }
        .access(Access::Anyone)
    }

    /// A page for people. Unlike every operation, it ignores query parameters that it does not know.
    pub(super) fn page(path: &'static str, id: &str, summary: &str) -> Self {
        Self::new("get", path, id, summary)
    }

    fn programmatic(method: &'static str, path: &'static str, id: &str, summary: &str) -> Self {
        Self::new(method, path, id, summary).refuses(&[Code::InvalidQuery])
    }

    pub(super) fn path(&self) -> &'static str {
        self.path
    }

    pub(super) fn method(&self) -> &'static str {
        self.method
    }

    /// Whether it has any query parameter.
    pub(super) fn has_query(&self) -> bool {
        let shared = parameters();
        self.parameters.iter().any(|parameter| {
            let reference = parameter["$ref"]
                .as_str()
                .and_then(|to| to.rsplit('/').next());
            let described = reference.map_or(parameter, |name| &shared[name]);
            described["in"] == "query"
        })
    }

    pub(super) fn get(path: &'static str, id: &str, summary: &str) -> Self {
        Self::programmatic("get", path, id, summary)
    }

    pub(super) fn post(path: &'static str, id: &str, summary: &str) -> Self {
        Self::programmatic("post", path, id, summary)
    }

    pub(super) fn patch(path: &'static str, id: &str, summary: &str) -> Self {
        Self::programmatic("patch", path, id, summary)
    }

    pub(super) fn delete(path: &'static str, id: &str, summary: &str) -> Self {
        Self::programmatic("delete", path, id, summary)
    }

    /// What the summary leaves open.
    pub(super) fn about(mut self, description: &str) -> Self {
        self.described["description"] = json!(description);
        self
    }

    pub(super) fn tag(mut self, name: &str) -> Self {
        self.described["tags"] = json!([name]);
        self
    }

    pub(super) fn access(mut self, access: Access) -> Self {
        // One bearer scheme each: where there are several to choose from, openapi-generator 7.26 sends
        // the token once for each of them.
        let (schemes, codes): (Value, &[Code]) = match access {
            Access::Anyone => (json!([]), &[]),
            Access::Buyer => (
                json!([{}, { "buyerToken": [] }]),
                &[Code::Unauthorized, Code::Forbidden, Code::TooManyAttempts],
            ),
            Access::Auditor => (
                json!([{ "auditorKey": [] }, { "adminSession": [] }]),
                &[Code::Unauthorized, Code::Forbidden, Code::TooManyAttempts],
            ),
            Access::Admin => (
                json!([{ "adminKey": [] }, { "adminSession": [] }]),
                &[Code::Unauthorized, Code::Forbidden, Code::TooManyAttempts],
            ),
        };
        self.described["security"] = schemes;
        self.refuses(codes)
    }

    /// A header or query parameter that [`parameters`] describes.
    pub(super) fn takes(mut self, name: &str) -> Self {
        self.parameters
            .push(json!({ "$ref": format!("#/components/parameters/{name}") }));
        self
    }

    /// The fields of `T` as query parameters.
    pub(super) fn takes_query<T: JsonSchema>(mut self, schemas: &mut Schemas) -> Self {
        for (name, mut schema) in schemas.query::<T>() {
            let description = schema
                .as_object_mut()
                .and_then(|schema| schema.remove("description"));
            let mut parameter = json!({ "name": name, "in": "query", "schema": schema });
            if let Some(description) = description {
                parameter["description"] = description;
            }
            self.parameters.push(parameter);
        }
        self
    }

    /// The key that makes a retry safe.
    pub(super) fn takes_key(self) -> Self {
        self.takes("Idempotency-Key").refuses(&[
            Code::IdempotencyKeyRequired,
            Code::InvalidIdempotencyKey,
            Code::IdempotencyKeyReused,
        ])
    }

    /// A JSON body.
    pub(super) fn takes_json<T: JsonSchema>(self, schemas: &mut Schemas, example: Value) -> Self {
        self.takes_body::<T>(schemas, example, true)
    }

    /// A JSON body that may be left out.
    pub(super) fn may_take_json<T: JsonSchema>(
        self,
        schemas: &mut Schemas,
        example: Value,
    ) -> Self {
        self.takes_body::<T>(schemas, example, false)
    }

    fn takes_body<T: JsonSchema>(
        mut self,
        schemas: &mut Schemas,
        example: Value,
        is_required: bool,
    ) -> Self {
        let media = json!({ "schema": schemas.request::<T>(), "example": example });
        self.described["requestBody"] =
            json!({ "required": is_required, "content": { "application/json": media } });
        self.refuses(&[
            Code::MalformedJson,
            Code::RequestTimeout,
            Code::BodyTooLarge,
            Code::UnsupportedMediaType,
            Code::InvalidValue,
        ])
    }

    /// A read that may wait until it is fresh enough.
    pub(super) fn reads_fresh(self) -> Self {
        self.takes("at_least").refuses(&[Code::Unavailable])
    }

    /// An answer with an entity tag; 304 for who has it already.
    pub(super) fn answers_unless_known(self, answer: Answer) -> Self {
        let known = Answer::new(304, "Nothing has changed since the `ETag` that was sent.");
        self.takes("If-None-Match")
            .answers(answer.headers(&["ETag", "Cache-Control"]))
            .answers(known.headers(&["ETag", "Cache-Control"]))
    }

    /// Every answer so far says a position, that no body says.
    pub(super) fn says_position(mut self) -> Self {
        for answer in self.answers.values_mut() {
            answer["headers"]["Holdfast-Position"] =
                json!({ "$ref": "#/components/headers/Holdfast-Position" });
        }
        self
    }

    /// The same for an answer that says `server_time`.
    pub(super) fn answers_unless_known_at(self, answer: Answer) -> Self {
        let known = Answer::new(
            304,
            "Nothing has changed since the `ETag` that was sent, except `server_time`, which a stored body has of the time when \
             it was stored.",
        );
        let headers = ["ETag", "Cache-Control", "Holdfast-Server-Time"];
        self.takes("If-None-Match")
            .answers(answer.headers(&headers))
            .answers(known.headers(&headers))
    }

    pub(super) fn answers(mut self, answer: Answer) -> Self {
        self.answers
            .insert(answer.status.to_string(), answer.described);
        self
    }

    /// What can go wrong.
    pub(super) fn refuses(mut self, codes: &[Code]) -> Self {
        self.codes.extend_from_slice(codes);
        self
    }

    /// Its path, its method, and the operation object.
    pub(super) fn described(self) -> (String, &'static str, Value) {
        let Self {
            path,
            method,
            mut described,
            parameters,
            mut answers,
            mut codes,
        } = self;
        if codes.contains(&Code::Unavailable) {
            codes.extend(while_refused(path));
        }
        for (status, refused) in problems::answers(&codes) {
            match answers.get_mut(&status) {
                // A page of its own under the same status.
                Some(answer) => {
                    answer["content"]["application/problem+json"] =
                        refused["content"]["application/problem+json"].clone()
                }
                None => drop(answers.insert(status, refused)),
            }
        }
        for answer in answers.values_mut() {
            let cache_control = "Cache-Control";
            answer["headers"][cache_control] =
                json!({ "$ref": format!("#/components/headers/{cache_control}") });
        }
        if !parameters.is_empty() {
            described["parameters"] = parameters.into();
        }
        described["responses"] = answers.into();
        (path.to_owned(), method, described)
    }
}

/// What else a room is answered that needs the log or a drop.
fn while_refused(path: &str) -> &'static [Code] {
    let of_drops = [
        "/v1/drops",
        "/v1/holds",
        "/v1/purchases",
        "/v1/waitlist",
        "/v1/stream",
    ];
    let of_admins = ["/v1/admin/timeline", "/v1/admin/metrics"];
    if of_drops.iter().any(|room| path.starts_with(room)) || of_admins.contains(&path) {
        &[Code::DropQuarantined, Code::LogRefused]
    } else {
        &[Code::LogRefused]
    }
}

/// The parameters that a path names: an id of what stands before it.
fn in_path(path: &str) -> Vec<Value> {
    let names = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let kind = |name: &str| match name {
        "id" => ("The id.", json!({ "type": "string", "format": "uuid" })),
        "buyer_id" => (
            "What the shop calls the buyer.",
            json!({ "$ref": "#/components/schemas/BuyerId" }),
        ),
        "code" => (
            "The code of a problem.",
            json!({ "type": "string", "enum": Code::ALL.iter().map(|code| code.name()).collect::<Vec<_>>() }),
        ),
        _ => ("The file.", json!({ "type": "string" })),
    };
    let parameter = |name: &str| {
        let (description, schema) = kind(name);
        json!({ "name": name, "in": "path", "required": true, "description": description, "schema": schema })
    };
    names.map(parameter).collect()
}

/// Parameters that several operations take.
pub(super) fn parameters() -> Value {
    let header = |name: &str, is_required: bool, description: &str, schema: Value| json!({ "name": name, "in": "header", "required": is_required, "description": description, "schema": schema });
    let text = || json!({ "type": "string" });
    json!({
        "Idempotency-Key": header(
            "Idempotency-Key", true, "Chosen by the caller, one for each intent: a retry sends the same one. With buyers' tokens each buyer has keys of their own; trusted callers share one set for each drop.",
            json!({ "type": "string", "pattern": "^[!-~]{1,255}$", "examples": ["one-per-attempt"] }),
        ),
        "If-Match": header("If-Match", true, "The `ETag` of the drop that is edited, or several, of which one must match; a weak one never does. `*` overwrites whatever is there.", text()),
        "Stock-If-Match": header("If-Match", false, "The `ETag` of the drop whose stock is adjusted, or several, of which one must match; a weak one never does. Compares `stock.total`, which only adjustments change; without it, and with `*`, nothing is compared.", text()),
        "If-None-Match": header("If-None-Match", false, "The `ETag` that the caller has, or several.", text()),
        "Last-Event-ID": header(
            "Last-Event-ID", false,
            "The `id:` that was told last. The present state is sent in any case; with this, also that of drops that are over, if it is newer.", text(),
        ),
        "at_least": {
            "name": "at_least", "in": "query",
            "description": "Answers once everything up to this position is known here, as a write told it; 503 after two seconds.",
            "schema": { "type": "integer", "format": "int64", "minimum": 0, "maximum": i64::MAX },
        },
    })
}

/// Headers that answers have.
pub(super) fn headers() -> Value {
    let header = |is_required: bool, description: &str, schema: Value| json!({ "required": is_required, "description": description, "schema": schema });
    let text = || json!({ "type": "string" });
    let digits = || json!({ "type": "integer", "format": "int64", "minimum": 0 });
    json!({
        "Allow": header(true, "The methods that the path has.", text()),
        "Cache-Control": header(true, "Whether the answer may be kept: `no-cache` by anybody who asks again, `private, no-cache` by the caller alone, `no-store` by nobody.", text()),
        "Content-Disposition": header(false, "A name for the file.", text()),
        "ETag": header(true, "The entity tag of the answer: a digest of its body without `server_time`.", json!({ "type": "string", "pattern": "^\".*\"$" })),
        "Holdfast-Position": header(false, "The place in the log of what was done, where the body does not say it. Of a list: all up to there is in it.", digits()),
        "Holdfast-Server-Time": header(true, "The server's time, as `server_time` in the body. A 304 renews it, and not the body: count down from this.", json!({ "$ref": "#/components/schemas/Timestamp" })),
        "Idempotent-Replayed": header(false, "`true`: history held the answer already.", json!({ "type": "string", "const": "true" })),
        "Location": header(true, "Where it is read.", json!({ "type": "string", "format": "uri-reference" })),
        "RateLimit": header(true, "What is left, and when there is more (draft-ietf-httpapi-ratelimit-headers).", text()),
        "RateLimit-Policy": header(true, "The quota and its window (draft-ietf-httpapi-ratelimit-headers).", text()),
        "Retry-After": header(true, "When to try again, in whole seconds.", digits()),
        "Set-Cookie": header(true, "The session: `HttpOnly`, `SameSite=Strict`.", text()),
        "Vary": header(true, "What the answer depends on.", text()),
        "WWW-Authenticate": header(true, "`Bearer`; with `error` and `error_description` for a key or token that is not good (RFC 6750).", text()),
    })
}
