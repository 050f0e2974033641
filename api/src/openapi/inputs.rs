//! The parts of a route's description that follow from the parameters of its handler.
//!
//! Promise: the description states the authorization, the headers, the query parameters and the
//! body that the handler's extractors require, because it is derived from their types. A handler
//! with a parameter that is not described here cannot be a route. Limit: headers that a handler
//! reads from a [`HeaderMap`], such as `If-Match`, are stated by the operation.

use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, Method, Version};
use schemars::JsonSchema;

use super::operation::{Access, Input, Inputs, Operation};
use super::schemas::Schemas;
use crate::app::App;
use crate::auth::{Admin, Auditor, Caller, Visitor};
use crate::challenge::SolutionHeader;
use crate::checkout::ProviderPath;
use crate::connections::Handover;
use crate::creators::{ChosenId, CreatorPath};
use crate::drops::purchases::PurchasePath;
use crate::extract::{
    Body, BuyerIdPath, BuyerPath, DropPath, Fresh, HoldPath, IdempotencyKey, OptionalBody, Params,
    RawBody,
};
use crate::follows::{FollowPath, ReminderPath};
use crate::jobs::{JobPath, MatterPath};
use crate::limiter::Origin;
use crate::notifications::watch::Connection;
use crate::orders::{OrderPath, OrdersReader};
use crate::pages::Reader;
use crate::problem::Code;
use crate::products::ProductPath;
use crate::stream::watch::Sender;
use crate::waitlist::EntryPath;
use crate::webhook_routes::{DeliveryPath, EndpointPath};

macro_rules! inputs {
    ($($input:ident)*) => {
        impl<Marker, $($input: Input),*> Inputs for (Marker, $($input,)*) {
            fn describe(operation: Operation, _schemas: &mut Schemas) -> Operation {
                $(let operation = $input::describe(operation, _schemas);)*
                operation
            }
        }
    };
}

inputs!();
inputs!(A);
inputs!(A B);
inputs!(A B C);
inputs!(A B C D);
inputs!(A B C D E);
inputs!(A B C D E F);
inputs!(A B C D E F G);

macro_rules! adds_nothing {
    ($($input:ty),* $(,)?) => {
        $(impl Input for $input {
            fn describe(operation: Operation, _: &mut Schemas) -> Operation {
                operation
            }
        })*
    };
}

adds_nothing!(
    Connection,
    Extension<Handover>,
    HeaderMap,
    Method,
    Origin,
    // A page ignores an unknown language in its query.
    Reader,
    // The parameters of the path are in its template.
    Result<Path<String>, PathRejection>,
    State<App>,
    Version,
);

macro_rules! adds {
    ($($input:ty => |$operation:ident| $described:expr;)*) => {
        $(impl Input for $input {
            fn describe($operation: Operation, _: &mut Schemas) -> Operation {
                $described
            }
        })*
    };
}

adds! {
    Admin => |operation| operation.access(Access::Admin);
    Auditor => |operation| operation.access(Access::Auditor);
    Caller => |operation| operation.access(Access::Buyer);
    // A key that is sent is checked.
    Visitor => |operation| operation.problems(&[Code::TooManyAttempts]);
    BuyerPath => |operation| operation.problems(&[Code::DropNotFound, Code::InvalidValue]);
    BuyerIdPath => |operation| operation.problems(&[Code::InvalidValue]);
    ChosenId => |operation| operation.problems(&[Code::InvalidValue]);
    CreatorPath => |operation| operation.problems(&[Code::CreatorNotFound]);
    ProductPath => |operation| operation.problems(&[Code::ProductNotFound]);
    FollowPath => |operation| operation.problems(&[Code::CreatorNotFound, Code::InvalidValue]);
    ReminderPath => |operation| operation.problems(&[Code::DropNotFound, Code::InvalidValue]);
    DropPath => |operation| operation.problems(&[Code::DropNotFound]);
    DeliveryPath => |operation| operation.problems(&[Code::WebhookNotFound, Code::DeliveryNotFound]);
    EndpointPath => |operation| operation.problems(&[Code::WebhookNotFound]);
    JobPath => |operation| operation.problems(&[Code::JobNotFound]);
    MatterPath => |operation| operation.problems(&[Code::MatterNotFound]);
    EntryPath => |operation| operation.problems(&[Code::WaitlistEntryNotFound]);
    HoldPath => |operation| operation.problems(&[Code::HoldNotFound]);
    OrderPath => |operation| operation.problems(&[Code::OrderNotFound, Code::OrderQuarantined]);
    OrdersReader => |operation| operation.access(Access::BuyerWithToken);
    PurchasePath => |operation| operation.problems(&[Code::PurchaseNotFound]);
    // Only orders need credentials.
    Sender => |operation| operation.access(Access::Buyer);
    ProviderPath => |operation| operation.problems(&[Code::NotFound]);
    SolutionHeader => |operation| operation.parameter("Challenge-Solution").problems(&[
        Code::ChallengeRequired,
        Code::ChallengeInvalid,
        Code::ChallengeExpired,
    ]);
    IdempotencyKey => |operation| operation.parameter("Idempotency-Key").problems(&[
        Code::IdempotencyKeyRequired,
        Code::InvalidIdempotencyKey,
        Code::IdempotencyKeyReused,
    ]);
}

impl<T: JsonSchema> Input for Params<T> {
    fn describe(operation: Operation, schemas: &mut Schemas) -> Operation {
        operation.query_parameters::<T>(schemas)
    }
}

impl<T: JsonSchema> Input for Fresh<T> {
    fn describe(operation: Operation, schemas: &mut Schemas) -> Operation {
        let operation = operation.query_parameters::<T>(schemas);
        operation
            .parameter("at_least")
            .problems(&[Code::Unavailable])
    }
}

impl<T: JsonSchema, const MOST: usize> Input for Body<T, MOST> {
    fn describe(operation: Operation, schemas: &mut Schemas) -> Operation {
        operation.body(schemas.request::<T>(), true)
    }
}

impl<const MOST: usize> Input for RawBody<MOST> {
    fn describe(operation: Operation, _: &mut Schemas) -> Operation {
        operation.raw_body()
    }
}

impl<T: JsonSchema, const MOST: usize> Input for OptionalBody<T, MOST> {
    fn describe(operation: Operation, schemas: &mut Schemas) -> Operation {
        operation.body(schemas.request::<T>(), false)
    }
}
