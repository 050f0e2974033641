//! Operations of outgoing webhooks, of jobs, and of matters that need an administrator.

use serde_json::{Value, json};

use super::{DROP_ID, NOON};
use crate::jobs::{self, JobBody, MatterBody};
use crate::openapi::operation::{Operation, ResponseSpec};
use crate::openapi::schemas::Schemas;
use crate::problem::Code;
use crate::render::Page;
use crate::webhook_routes::{self as routes, DeliveryBody, EndpointBody};

const ALL: &str = "/v1/admin/webhooks";
const ONE: &str = "/v1/admin/webhooks/{id}";
const ENDPOINT_ID: &str = "0197d3f4-1b2c-4d3e-8f40-5a6b7c8d9e0f";
const DELIVERY_ID: &str = "0197d3f4-77aa-4bcd-9e0f-1a2b3c4d5e6f";

pub(super) fn all(schemas: &mut Schemas) -> Vec<Operation> {
    let operations = [
        create(schemas),
        list(schemas),
        read(schemas),
        edit(schemas),
        delete(schemas),
        test(schemas),
        rotate_secret(schemas),
        replay(schemas),
        deliveries(schemas),
        retry(schemas),
        jobs(schemas),
        retry_job(schemas),
        cancel_job(schemas),
        needs_attention(schemas),
        close_matter(schemas),
    ];
    let described = |operation: Operation| {
        let operation = operation.tag("Webhooks and jobs");
        operation.problems(&[Code::Unavailable])
    };
    operations.into_iter().map(described).collect()
}

fn example_endpoint() -> Value {
    json!({
        "id": ENDPOINT_ID, "url": "https://shop.example/webhooks", "event_types": ["purchase.confirmed"],
        "description": null, "status": "enabled", "disabled_reason": null, "disabled_at": null,
        "position": 17, "pending": 0, "failed": 0, "created_at": NOON,
    })
}

fn with_secret() -> Value {
    let mut example = example_endpoint();
    example["secret"] = json!("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYqr");
    example
}

fn example_delivery() -> Value {
    json!({
        "id": DELIVERY_ID, "endpoint_id": ENDPOINT_ID, "webhook_id": "evt_17_6f1c2a9e3b4d4c5e",
        "event_type": "purchase.confirmed", "drop_id": DROP_ID, "order_id": null, "position": 17,
        "status": "pending",
        "cancelled": false, "attempts": 1, "next_attempt_at": NOON, "last_error": "503 Service Unavailable",
        "created_at": NOON, "finished_at": null,
    })
}

fn example_job() -> Value {
    json!({
        "id": DELIVERY_ID, "kind": "webhook", "subject": format!("/v1/admin/webhooks/{ENDPOINT_ID}"),
        "status": "pending", "cancelled": false, "attempts": 1, "next_attempt_at": NOON,
        "last_error": "503 Service Unavailable", "meaning": null, "position": 17,
    })
}

fn cancelled_job() -> Value {
    json!({
        "id": DELIVERY_ID, "kind": "refund", "subject": format!("/v1/orders/{ENDPOINT_ID}"),
        "status": "failed", "cancelled": true, "attempts": 1, "next_attempt_at": null,
        "last_error": null, "position": 17,
        "meaning": "199.99 USD stays with the shop: it is not returned to the buyer. A retry returns it. \
                    needs-attention lists it; cancel the job there to close the entry.",
    })
}

fn endpoint(schemas: &mut Schemas, status: u16, description: &str, example: Value) -> ResponseSpec {
    ResponseSpec::new(status, description).json(schemas.response::<EndpointBody>(), example)
}

fn create(schemas: &mut Schemas) -> Operation {
    let created = endpoint(schemas, 201, "The endpoint, and its secret.", with_secret());
    Operation::post(
        schemas,
        ALL,
        routes::create,
        "createWebhook",
        "Create a webhook endpoint",
    )
    .description(
        "The endpoint receives every event after the present head of the log. Requests follow \
             Standard Webhooks 1.0.0: headers `webhook-id`, `webhook-timestamp` and \
             `webhook-signature`, body `{type, timestamp, data}`. The secret is shown only here.",
    )
    .body_example(
        json!({ "url": "https://shop.example/webhooks", "event_types": ["purchase.confirmed"] }),
    )
    .response(created.headers(&["Location"]))
    .problems(&[Code::WebhookLimitReached])
}

fn list(schemas: &mut Schemas) -> Operation {
    let page = schemas.response::<Page<EndpointBody>>();
    let example = json!({ "data": [example_endpoint()], "has_more": false });
    Operation::get(
        schemas,
        ALL,
        routes::list,
        "listWebhooks",
        "List webhook endpoints, newest first",
    )
    .conditional_response(ResponseSpec::new(200, "A page of endpoints.").json(page, example))
}

fn read(schemas: &mut Schemas) -> Operation {
    let read = endpoint(schemas, 200, "The endpoint.", example_endpoint());
    Operation::get(
        schemas,
        ONE,
        routes::read,
        "readWebhook",
        "Read a webhook endpoint",
    )
    .conditional_response(read)
}

fn edit(schemas: &mut Schemas) -> Operation {
    Operation::patch(
        schemas,
        ONE,
        routes::edit,
        "editWebhook",
        "Edit, enable or disable a webhook endpoint",
    )
    .description(
        "Absent fields stay unchanged; `event_types: null` subscribes to all types. An \
             endpoint that is enabled again continues at its position, so it misses nothing.",
    )
    .body_example(json!({ "status": "disabled" }))
    .response(endpoint(
        schemas,
        200,
        "The edited endpoint.",
        example_endpoint(),
    ))
}

fn delete(schemas: &mut Schemas) -> Operation {
    Operation::delete(
        schemas,
        ONE,
        routes::delete,
        "deleteWebhook",
        "Delete a webhook endpoint",
    )
    .response(ResponseSpec::new(
        204,
        "The endpoint and its deliveries are deleted.",
    ))
}

fn test(schemas: &mut Schemas) -> Operation {
    let mut example = example_delivery();
    example["event_type"] = json!("webhook.test");
    example["drop_id"] = Value::Null;
    let accepted = ResponseSpec::new(202, "The delivery. Its status shows the result.")
        .json(schemas.response::<DeliveryBody>(), example);
    Operation::post(
        schemas,
        "/v1/admin/webhooks/{id}/test",
        routes::test,
        "testWebhook",
        "Send a test",
    )
    .description("Sends a message of the type `webhook.test`, independently of the subscription.")
    .response(accepted)
    .problems(&[Code::WebhookDisabled])
}

fn rotate_secret(schemas: &mut Schemas) -> Operation {
    let mut example = with_secret();
    example["previous_secret_expires_at"] = json!(NOON);
    Operation::post(
        schemas,
        "/v1/admin/webhooks/{id}/rotate-secret",
        routes::rotate_secret,
        "rotateWebhookSecret",
        "Rotate the secret",
    )
    .description("For 24 hours requests are signed with both secrets.")
    .response(endpoint(
        schemas,
        200,
        "The endpoint, and its new secret.",
        example,
    ))
}

fn replay(schemas: &mut Schemas) -> Operation {
    Operation::post(
        schemas,
        "/v1/admin/webhooks/{id}/replay",
        routes::replay,
        "replayWebhook",
        "Deliver events again",
    )
    .description(
        "Moves the endpoint back: everything after the position is delivered again, with the \
             same `webhook-id`. 0 delivers the whole log.",
    )
    .body_example(json!({ "after": 0 }))
    .response(endpoint(
        schemas,
        202,
        "The endpoint at its new position.",
        example_endpoint(),
    ))
}

fn deliveries(schemas: &mut Schemas) -> Operation {
    let page = schemas.response::<Page<DeliveryBody>>();
    let example = json!({ "data": [example_delivery()], "has_more": false });
    Operation::get(
        schemas,
        "/v1/admin/webhooks/{id}/deliveries",
        routes::deliveries,
        "listDeliveries",
        "List deliveries, newest event first",
    )
    .description(
        "All pending deliveries, those given up in the last 30 days, and the newest 1,000 that \
         are done. Events that wait for an earlier one of their drop are not listed yet.",
    )
    .conditional_response(ResponseSpec::new(200, "A page of deliveries.").json(page, example))
}

fn retry(schemas: &mut Schemas) -> Operation {
    let delivery = ResponseSpec::new(200, "The delivery, which is due now.")
        .json(schemas.response::<DeliveryBody>(), example_delivery());
    Operation::post(
        schemas,
        "/v1/admin/webhooks/{id}/deliveries/{delivery_id}/retry",
        routes::retry,
        "retryDelivery",
        "Attempt a delivery now",
    )
    .description(
        "A delivery that was given up or done is sent again by itself, with a new schedule; later \
         events of its drop do not wait for it.",
    )
    .response(delivery)
}

fn jobs(schemas: &mut Schemas) -> Operation {
    let page = schemas.response::<Page<JobBody>>();
    let example = json!({ "data": [example_job()], "has_more": false });
    Operation::get(
        schemas,
        "/v1/admin/jobs",
        jobs::list,
        "listJobs",
        "List jobs, newest event first",
    )
    .description(
        "The work that follows from payments, and deliveries of webhooks that are pending, were \
             given up, or needed more than one attempt.",
    )
    .conditional_response(ResponseSpec::new(200, "A page of jobs.").json(page, example))
}

fn job(schemas: &mut Schemas, description: &str, example: Value) -> ResponseSpec {
    ResponseSpec::new(200, description).json(schemas.response::<JobBody>(), example)
}

fn retry_job(schemas: &mut Schemas) -> Operation {
    Operation::post(
        schemas,
        "/v1/admin/jobs/{id}/retry",
        jobs::retry,
        "retryJob",
        "Attempt a job now",
    )
    .description("A job of a payment that is done cannot be attempted again.")
    .response(job(schemas, "The job, which is due now.", example_job()))
    .problems(&[Code::JobDone])
}

fn cancel_job(schemas: &mut Schemas) -> Operation {
    Operation::post(
        schemas,
        "/v1/admin/jobs/{id}/cancel",
        jobs::cancel,
        "cancelJob",
        "Give a job up",
    )
    .description(
        "A pending job is given up: later events of its drop or order follow, and a job of a \
             payment needs attention. One that was given up already is closed: it does not need \
             attention any more. `meaning` states the consequence for the money, and how the job \
             is taken up again.",
    )
    .response(job(
        schemas,
        "The job, which is cancelled.",
        cancelled_job(),
    ))
    .problems(&[Code::JobDone])
}

fn needs_attention(schemas: &mut Schemas) -> Operation {
    let matter = json!({
        "id": DELIVERY_ID, "kind": "webhook", "subject": format!("/v1/admin/webhooks/{ENDPOINT_ID}"), "since": NOON,
        "detail": "purchase.confirmed was not delivered in 10 attempts: 500 Internal Server Error", "position": 17,
    });
    let page = schemas.response::<Page<MatterBody>>();
    let example = json!({ "data": [matter], "has_more": false });
    Operation::get(
        schemas,
        "/v1/admin/needs-attention",
        jobs::needs_attention,
        "listMatters",
        "List matters that need an administrator, newest first",
    )
    .conditional_response(ResponseSpec::new(200, "A page of matters.").json(page, example))
}

fn close_matter(schemas: &mut Schemas) -> Operation {
    Operation::post(
        schemas,
        "/v1/admin/needs-attention/{id}/close",
        jobs::close_matter,
        "closeMatter",
        "Close the matter of a refund or dispute at a provider",
    )
    .description(
        "The money is accounted for otherwise: later refunds of the order are paid by the \
             server. Closing again has no effect.",
    )
    .response(ResponseSpec::new(
        204,
        "The matter is closed, now or earlier.",
    ))
}
