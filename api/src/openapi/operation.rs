//! One row of the route table: a path, a method, the handler, and their description.

use axum::handler::Handler;
use axum::middleware::from_fn;
use axum::routing::{self, MethodRouter};
use schemars::JsonSchema;
use serde_json::{Map, Value, json};

use super::problems;
use super::schemas::Schemas;
use crate::app::App;
use crate::extract::known_parameters_only;
use crate::problem::Code;

/// The headers of a read with an entity tag, and of its 304.
pub(super) const TAGGED: [&str; 3] = ["ETag", "Cache-Control", "Holdfast-Server-Time"];

/// The description of every 304.
pub(super) const NOT_MODIFIED: &str = "Not modified: the `ETag` still matches.";

/// The authorization that an operation requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    Anyone,
    /// Anyone if the server does not require buyer tokens; otherwise the buyer or an admin.
    Buyer,
    /// The buyer with a token, or an admin.
    BuyerWithToken,
    Auditor,
    Admin,
}

impl Access {
    /// Returns the security requirement, and the problems of a caller that does not meet it.
    fn described(self) -> (Value, &'static [Code]) {
        // One bearer scheme each: if there are several alternatives, openapi-generator 7.26 sends
        // the token once for each.
        let schemes = match self {
            Self::Anyone => return (json!([]), &[]),
            Self::Buyer => json!([{}, { "buyerToken": [] }]),
            Self::BuyerWithToken => json!([{ "buyerToken": [] }]),
            Self::Auditor => json!([{ "auditorKey": [] }, { "adminSession": [] }]),
            Self::Admin => json!([{ "adminKey": [] }, { "adminSession": [] }]),
        };
        (
            schemes,
            &[Code::Unauthorized, Code::Forbidden, Code::TooManyAttempts],
        )
    }
}

/// One parameter of a handler.
pub(crate) trait Input {
    fn describe(operation: Operation, schemas: &mut Schemas) -> Operation;
}

/// All parameters of a handler, as the type parameter of [`axum::handler::Handler`] lists them.
pub(crate) trait Inputs {
    fn describe(operation: Operation, schemas: &mut Schemas) -> Operation;
}

/// A route with its description. Both come from the same declaration: a route cannot lack an
/// operation, nor an operation a handler.
pub(crate) struct Operation {
    /// As the router spells it.
    path: &'static str,
    method: &'static str,
    handler: MethodRouter<App>,
    /// Pages ignore unknown query parameters, because campaigns and mail programs append
    /// parameters to links.
    is_page: bool,
    access: Access,
    described: Value,
    parameters: Vec<Value>,
    responses: Map<String, Value>,
    codes: Vec<Code>,
}

/// A response of an operation, other than an error.
pub(super) struct ResponseSpec {
    status: u16,
    described: Value,
}

impl ResponseSpec {
    pub(super) fn new(status: u16, description: &str) -> Self {
        let described = json!({ "description": description });
        Self { status, described }
    }

    /// Adds a JSON body.
    pub(super) fn json(self, schema: Value, example: Value) -> Self {
        self.content(
            "application/json",
            json!({ "schema": schema, "example": example }),
        )
    }

    /// Adds a text body of another media type.
    pub(super) fn text(self, media_type: &str) -> Self {
        self.content(media_type, json!({ "schema": { "type": "string" } }))
    }

    /// Adds a body of `media_type`.
    pub(super) fn content(mut self, media_type: &str, described: Value) -> Self {
        self.described["content"][media_type] = described;
        self
    }

    /// Adds headers that [`headers`] describes.
    pub(super) fn headers(mut self, names: &[&str]) -> Self {
        for &name in names {
            self.described["headers"][name] =
                json!({ "$ref": format!("#/components/headers/{name}") });
        }
        self
    }

    /// Adds headers that are not always present.
    pub(super) fn optional_headers(mut self, names: &[&str]) -> Self {
        for &name in names {
            let mut header = headers()[name].take();
            header["required"] = json!(false);
            self.described["headers"][name] = header;
        }
        self
    }
}

macro_rules! constructors {
    ($($(#[$doc:meta])* $name:ident is $method:ident, page: $is_page:literal;)*) => {
        impl Operation {
            $($(#[$doc])*
            pub(super) fn $name<H, T>(
                schemas: &mut Schemas,
                path: &'static str,
                handler: H,
                id: &str,
                summary: &str,
            ) -> Self
            where
                H: Handler<T, App>,
                T: Inputs + 'static,
            {
                let handler = (stringify!($method), routing::$method(handler));
                Self::new::<T>(schemas, handler, path, $is_page, (id, summary))
            })*
        }
    };
}

constructors! {
    get is get, page: false;
    post is post, page: false;
    patch is patch, page: false;
    put is put, page: false;
    delete is delete, page: false;
    /// An HTML page.
    page is get, page: true;
}

impl Operation {
    fn new<T: Inputs>(
        schemas: &mut Schemas,
        (method, handler): (&'static str, MethodRouter<App>),
        path: &'static str,
        is_page: bool,
        (id, summary): (&str, &str),
    ) -> Self {
        let mut codes = vec![Code::Internal];
        if !is_page {
            codes.push(Code::InvalidQuery);
        }
        let operation = Self {
            path,
            method,
            handler,
            is_page,
            access: Access::Anyone,
            described: json!({ "operationId": id, "summary": summary }),
            parameters: in_path(path),
            responses: Map::new(),
            codes,
        };
        T::describe(operation, schemas)
    }

    /// Returns the path and the handler. Unless it is a page, an operation without query
    /// parameters rejects every query parameter; others reject unknown ones when they read their
    /// own ([`crate::extract::Params`]).
    pub(super) fn into_route(self) -> (&'static str, MethodRouter<App>) {
        let takes_none = !self.is_page && !self.has_query();
        let handler = if takes_none {
            self.handler.route_layer(from_fn(known_parameters_only))
        } else {
            self.handler
        };
        (self.path, handler)
    }

    /// Returns whether the operation has a query parameter.
    fn has_query(&self) -> bool {
        let shared = parameters();
        self.parameters.iter().any(|parameter| {
            let reference = parameter["$ref"]
                .as_str()
                .and_then(|to| to.rsplit('/').next());
            let described = reference.map_or(parameter, |name| &shared[name]);
            described["in"] == "query"
        })
    }

    /// Adds details that the summary does not contain.
    pub(super) fn description(mut self, description: &str) -> Self {
        self.described["description"] = json!(description);
        self
    }

    pub(super) fn tag(mut self, name: &str) -> Self {
        self.described["tags"] = json!([name]);
        self
    }

    pub(super) fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// Adds a header or query parameter that [`parameters`] describes.
    pub(super) fn parameter(mut self, name: &str) -> Self {
        self.parameters
            .push(json!({ "$ref": format!("#/components/parameters/{name}") }));
        self
    }

    /// Adds the fields of `T` as query parameters.
    pub(super) fn query_parameters<T: JsonSchema>(mut self, schemas: &mut Schemas) -> Self {
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

    /// Adds a JSON body.
    pub(super) fn body(mut self, schema: Value, is_required: bool) -> Self {
        let content = json!({ "application/json": { "schema": schema } });
        self.described["requestBody"] = json!({ "required": is_required, "content": content });
        self.problems(&[
            Code::MalformedJson,
            Code::RequestTimeout,
            Code::BodyTooLarge,
            Code::UnsupportedMediaType,
            Code::InvalidValue,
        ])
    }

    /// Adds a JSON body that the handler reads as it was sent, whatever its type.
    pub(super) fn raw_body(mut self) -> Self {
        let content = json!({ "application/json": { "schema": { "type": "object" } } });
        self.described["requestBody"] = json!({ "required": true, "content": content });
        self.problems(&[
            Code::RequestTimeout,
            Code::BodyTooLarge,
            Code::MalformedJson,
        ])
    }

    /// Adds an example of the body that the handler takes.
    pub(super) fn body_example(mut self, example: Value) -> Self {
        self.described["requestBody"]["content"]["application/json"]["example"] = example;
        self
    }

    /// Adds a response with an entity tag, and the 304 for a matching `If-None-Match`.
    pub(super) fn conditional_response(self, response: ResponseSpec) -> Self {
        self.conditional(response, NOT_MODIFIED)
    }

    fn conditional(self, response: ResponseSpec, not_modified: &str) -> Self {
        let not_modified = ResponseSpec::new(304, not_modified);
        self.parameter("If-None-Match")
            .response(response.headers(&TAGGED))
            .response(not_modified.headers(&TAGGED))
    }

    /// Adds the header `Holdfast-Position` to every response so far.
    pub(super) fn position_header(mut self) -> Self {
        for response in self.responses.values_mut() {
            response["headers"]["Holdfast-Position"] =
                json!({ "$ref": "#/components/headers/Holdfast-Position" });
        }
        self
    }

    /// As [`Self::conditional_response`], for a body with `server_time`.
    pub(super) fn conditional_response_with_time(self, response: ResponseSpec) -> Self {
        self.conditional(
            response,
            "Not modified: the `ETag` still matches. Only `server_time` differs; take it from the \
             header `Holdfast-Server-Time`, because the stored body has an older value.",
        )
    }

    pub(super) fn response(mut self, response: ResponseSpec) -> Self {
        self.responses
            .insert(response.status.to_string(), response.described);
        self
    }

    /// Adds problems that the operation can return.
    pub(super) fn problems(mut self, codes: &[Code]) -> Self {
        self.codes.extend_from_slice(codes);
        self
    }

    /// Returns the path, the method, and the operation object.
    pub(super) fn described(self) -> (String, &'static str, Value) {
        let Self {
            path,
            method,
            access,
            mut described,
            parameters,
            mut responses,
            mut codes,
            ..
        } = self;
        let (security, codes_of_access) = access.described();
        described["security"] = security;
        codes.extend(codes_of_access);
        if codes.contains(&Code::Unavailable) {
            codes.extend(log_problems(path));
        }
        for (status, problem) in problems::responses(&codes) {
            match responses.get_mut(&status) {
                // The operation has an HTML page for the same status.
                Some(response) => {
                    response["content"]["application/problem+json"] =
                        problem["content"]["application/problem+json"].clone()
                }
                None => drop(responses.insert(status, problem)),
            }
        }
        for response in responses.values_mut() {
            let cache_control = "Cache-Control";
            response["headers"][cache_control] =
                json!({ "$ref": format!("#/components/headers/{cache_control}") });
        }
        if !parameters.is_empty() {
            described["parameters"] = parameters.into();
        }
        described["responses"] = responses.into();
        (path.replace("{*", "{"), method, described)
    }
}

/// Returns the additional problems of operations that need the log or a drop.
fn log_problems(path: &str) -> &'static [Code] {
    let of_drops = [
        "/v1/drops",
        "/v1/holds",
        "/v1/orders",
        "/v1/purchases",
        "/v1/waitlist",
        "/v1/stream",
    ];
    let of_admins = [
        "/v1/admin/timeline",
        "/v1/admin/metrics",
        "/v1/admin/drops/{id}/report",
    ];
    if of_drops.iter().any(|prefix| path.starts_with(prefix)) || of_admins.contains(&path) {
        &[Code::DropQuarantined, Code::LogRefused]
    } else {
        &[Code::LogRefused]
    }
}

/// Returns the parameters of a path template.
fn in_path(path: &str) -> Vec<Value> {
    let names = path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| name.trim_start_matches('*'));
    let kind = |name: &str| match name {
        "id" => ("The id.", json!({ "type": "string", "format": "uuid" })),
        "delivery_id" => (
            "The id of the delivery.",
            json!({ "type": "string", "format": "uuid" }),
        ),
        "provider" => (
            "The name of the payment provider.",
            json!({ "type": "string", "enum": ["demo", "stripe"] }),
        ),
        "buyer_id" => (
            "The shop's id of the buyer.",
            json!({ "$ref": "#/components/schemas/BuyerId" }),
        ),
        "code" => (
            "The code of a problem.",
            json!({ "type": "string", "enum": Code::ALL.iter().map(|code| code.name()).collect::<Vec<_>>() }),
        ),
        "page" => (
            "A tag in lower case with hyphens, `schemas`, or `search.json`.",
            json!({ "type": "string" }),
        ),
        "room" => ("The name of the room.", json!({ "type": "string" })),
        _ => ("The path of the file.", json!({ "type": "string" })),
    };
    let parameter = |name: &str| {
        let (description, schema) = kind(name);
        json!({ "name": name, "in": "path", "required": true, "description": description, "schema": schema })
    };
    names.map(parameter).collect()
}

/// Returns the shared parameters, by name.
pub(super) fn parameters() -> Value {
    let header = |name: &str, is_required: bool, description: &str, schema: Value| json!({ "name": name, "in": "header", "required": is_required, "description": description, "schema": schema });
    let text = || json!({ "type": "string" });
    json!({
        "Idempotency-Key": header(
            "Idempotency-Key", true, "Use one key per operation, and repeat it on every retry. \
                                      With buyer tokens, each buyer has a separate set of keys; \
                                      trusted callers share one set per drop.",
            json!({ "type": "string", "pattern": "^[!-~]{1,255}$", "examples": ["one-per-operation"] }),
        ),
        "Challenge-Solution": header("Challenge-Solution", false, "The solution of the challenge in \
            a 403 `challenge_required`, as the base64 of the JSON object `{\"challenge\": …, \
            \"solution\": {\"counter\": …, \"derivedKey\": …}}`: the payload of ALTCHA, version 2. It is \
            for the same request, with the same Idempotency-Key.", text()),
        "If-Match": header("If-Match", true, "The `ETag` of the drop to edit, or several, one of \
            which must match; weak tags never match. `*` overwrites the current version.", text()),
        "Cancel-If-Match": header("If-Match", false, "The `ETag` of the drop to cancel, or several, \
            one of which must match; weak tags never match. Without this header, or with `*`, \
            nothing is compared.", text()),
        "Stock-If-Match": header("If-Match", false, "The `ETag` of the drop whose stock is \
            adjusted, or several, one of which must match; weak tags never match. The comparison \
            covers `stock.total`, which only adjustments change. Without this header, or with \
            `*`, nothing is compared.", text()),
        "Set-Stock-If-Match": header("If-Match", true, "The `ETag` of the drop whose stock is set, \
            or several, one of which must match; weak tags never match. The comparison covers \
            `stock.total`. `*` sets the total of any stock.", text()),
        "If-None-Match": header("If-None-Match", false, "The `ETag` of the stored response, or \
            several.", text()),
        "Last-Event-ID": header(
            "Last-Event-ID", false,
            "The last `id:` that the client received. The current state is sent in any case; with \
             this header, also that of drops that have ended since. A value that is not a \
             position is ignored.", text(),
        ),
        "at_least": {
            "name": "at_least", "in": "query",
            "description": "A log position from the response to a write. The server responds when \
                            it has applied the log up to this position, or returns 503 after two \
                            seconds.",
            "schema": { "type": "integer", "format": "int64", "minimum": 0, "maximum": i64::MAX },
        },
    })
}

/// Returns the headers of responses, by name.
pub(super) fn headers() -> Value {
    let header = |is_required: bool, description: &str, schema: Value| json!({ "required": is_required, "description": description, "schema": schema });
    let text = || json!({ "type": "string" });
    let digits = || json!({ "type": "integer", "format": "int64", "minimum": 0 });
    json!({
        "Allow": header(true, "The methods that the path supports.", text()),
        "Cache-Control": header(true, "`no-cache`: any cache may store the response and must \
                                       revalidate it. `private, no-cache`: only the client's own \
                                       cache may. `no-store`: no cache may store it.", text()),
        "Content-Disposition": header(false, "A suggested file name.", text()),
        "Content-Language": header(true, "The language of the page.", text()),
        "ETag": header(true, "The entity tag: a digest of the body without `server_time`.", json!({ "type": "string", "pattern": "^\".*\"$" })),
        "Holdfast-Position": header(false, "A position by which the log contains the change. For a \
            list: the position up to which the list reflects the log.", digits()),
        "Holdfast-Server-Time": header(true, "The server's time; equal to `server_time`, if the \
            body has it. A 304 updates this header but not the stored body, so use the header for \
            countdowns.", json!({ "$ref": "#/components/schemas/Timestamp" })),
        "Idempotent-Replayed": header(false, "`true`: the request was recorded before, and this \
            is the recorded result.", json!({ "type": "string", "const": "true" })),
        "Location": header(true, "The URL of the created resource.", json!({ "type": "string", "format": "uri-reference" })),
        "RateLimit": header(true, "The remaining quota and the time until it is renewed \
                                   (draft-ietf-httpapi-ratelimit-headers).", text()),
        "RateLimit-Policy": header(true, "The quota and its window (draft-ietf-httpapi-ratelimit-headers).", text()),
        "Retry-After": header(true, "The time to wait before a retry, in seconds.", digits()),
        "Set-Cookie": header(true, "The session cookie: `HttpOnly`, `SameSite=Strict`.", text()),
        "Vary": header(true, "The request headers that the response depends on.", text()),
        "WWW-Authenticate": header(true, "`Bearer`; with `error` and `error_description` if the \
            key or token is not valid (RFC 6750).", text()),
    })
}
