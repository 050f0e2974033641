//! Operations of creators and products.

use serde_json::{Value, json};

use super::{NOON, example_drop};

use crate::creators::{self, CreatorBody, FollowerBody};
use crate::feeds;
use crate::openapi::operation::{Operation, ResponseSpec};
use crate::openapi::schemas::Schemas;
use crate::problem::Code;
use crate::products::{self, ProductBody};
use crate::render::Page;

const CREATORS: &str = "/v1/creators";
const CREATOR: &str = "/v1/creators/{id}";
const PRODUCTS: &str = "/v1/products";
const PRODUCT: &str = "/v1/products/{id}";

pub(super) fn all(schemas: &mut Schemas) -> Vec<Operation> {
    let operations = [
        put_creator(schemas),
        list_creators(schemas),
        read_creator(schemas),
        delete_creator(schemas),
        followers(schemas),
        put_product(schemas),
        list_products(schemas),
        read_product(schemas),
        delete_product(schemas),
        google_feed(schemas),
    ];
    let described = |operation: Operation| {
        let operation = operation.tag("Catalogue");
        operation.problems(&[Code::Unavailable])
    };
    operations.into_iter().map(described).collect()
}

fn example_creator() -> Value {
    json!({
        "id": "atelier-nord", "name": "Atelier Nord", "description": "Coats from Bergen.",
        "image_url": null, "followers": 1204, "created_at": NOON,
    })
}

fn example_product() -> Value {
    json!({
        "id": "harbour-jacket", "creator_id": "atelier-nord", "title": "Harbour jacket",
        "description": "Waxed cotton, numbered.", "image_url": null,
        "variants": [{ "id": "m", "name": "M", "sku": "HJ-M", "gtin": "4006381333931" }],
        "drops": [example_drop()], "has_more_drops": false, "created_at": NOON,
    })
}

const EXAMPLE_FEED: &str = "id\ttitle\tdescription\tlink\timage_link\tavailability\t\
    availability_date\tprice\tbrand\tgtin\tmpn\titem_group_id\tidentifier_exists\n\
    5f0c6c1e-8d0b-4f7e-9a51-2f6d1c3b7a90\tHarbour jacket, M\tWaxed cotton, numbered.\t\
    https://shop.example/drops/5f0c6c1e-8d0b-4f7e-9a51-2f6d1c3b7a90\t\tpreorder\t\
    2026-12-05T12:00:00Z\t249.00 EUR\tAtelier Nord\t4006381333931\tHJ-M\tharbour-jacket\tyes\n";

fn google_feed(schemas: &mut Schemas) -> Operation {
    let table = json!({ "schema": { "type": "string" }, "example": EXAMPLE_FEED });
    let feed = ResponseSpec::new(200, "A header line, and one line for each drop.");
    Operation::get(
        schemas,
        "/v1/feeds/google.tsv",
        feeds::google,
        "readGoogleFeed",
        "Read the product feed for Google Merchant Center",
    )
    .description(
        "The public drops that are on sale, upcoming or sold out and require no access code, newest \
         first, as tab-separated values by Google's product data specification. An upcoming drop \
         is a `preorder` with its start as `availability_date`. `brand` is the name of the \
         creator; `gtin` and `mpn` (the SKU) are those of the variant. Links begin with the public \
         URL of the shop.",
    )
    .conditional_response(feed.content("text/tab-separated-values", table))
}

fn put_creator(schemas: &mut Schemas) -> Operation {
    let creator = |schemas: &mut Schemas, status, description: &str| {
        let schema = schemas.response::<CreatorBody>();
        ResponseSpec::new(status, description).json(schema, example_creator())
    };
    let created = creator(schemas, 201, "The new creator.");
    let replaced = creator(schemas, 200, "The creator, which was replaced.");
    Operation::put(
        schemas,
        CREATOR,
        creators::put,
        "putCreator",
        "Add or replace a creator",
    )
    .description("The shop chooses the id. A creator that is replaced keeps its followers.")
    .body_example(json!({ "name": "Atelier Nord", "description": "Coats from Bergen." }))
    .response(replaced)
    .response(created.headers(&["Location"]))
    .problems(&[Code::CreatorNotFound])
}

fn list_creators(schemas: &mut Schemas) -> Operation {
    let page = schemas.response::<Page<CreatorBody>>();
    let example = json!({ "data": [example_creator()], "has_more": false });
    Operation::get(
        schemas,
        CREATORS,
        creators::list,
        "listCreators",
        "List creators, newest first",
    )
    .conditional_response(ResponseSpec::new(200, "A page of creators.").json(page, example))
}

fn read_creator(schemas: &mut Schemas) -> Operation {
    let schema = schemas.response::<CreatorBody>();
    let creator = ResponseSpec::new(200, "The creator.").json(schema, example_creator());
    Operation::get(
        schemas,
        CREATOR,
        creators::read,
        "readCreator",
        "Read a creator",
    )
    .conditional_response(creator)
}

fn delete_creator(schemas: &mut Schemas) -> Operation {
    Operation::delete(
        schemas,
        CREATOR,
        creators::delete,
        "deleteCreator",
        "Delete a creator",
    )
    .description(
        "The creator loses its followers at once; a later creator with the same id begins without \
         any. Its products and drops keep its id.",
    )
    .response(ResponseSpec::new(204, "The creator is deleted."))
}

fn followers(schemas: &mut Schemas) -> Operation {
    let page = schemas.response::<Page<FollowerBody>>();
    let follower = json!({ "buyer_id": "buyer-1", "followed_at": NOON });
    let example = json!({ "data": [follower], "has_more": false });
    Operation::get(
        schemas,
        "/v1/creators/{id}/followers",
        creators::followers,
        "listFollowers",
        "List the followers of a creator, newest first",
    )
    .conditional_response(ResponseSpec::new(200, "A page of followers.").json(page, example))
}

fn put_product(schemas: &mut Schemas) -> Operation {
    let product = |schemas: &mut Schemas, status, description: &str| {
        let schema = schemas.response::<ProductBody<'static>>();
        ResponseSpec::new(status, description).json(schema, example_product())
    };
    let created = product(schemas, 201, "The new product.");
    let replaced = product(schemas, 200, "The product, which was replaced.");
    Operation::put(
        schemas,
        PRODUCT,
        products::put,
        "putProduct",
        "Add or replace a product",
    )
    .description(
        "The shop chooses the ids of the product and of its variants. Drops name them in \
         `product_id` and `variant_id`, in any order: a drop may be scheduled before its product \
         is added.",
    )
    .body_example(json!({
        "creator_id": "atelier-nord", "title": "Harbour jacket",
        "variants": [{ "id": "m", "name": "M", "sku": "HJ-M", "gtin": "4006381333931" }],
    }))
    .response(replaced)
    .response(created.headers(&["Location"]))
    .problems(&[Code::ProductNotFound])
}

fn list_products(schemas: &mut Schemas) -> Operation {
    let page = schemas.response::<Page<ProductBody<'static>>>();
    let example = json!({ "data": [example_product()], "has_more": false });
    let products = ResponseSpec::new(200, "A page of products.").json(page, example);
    Operation::get(
        schemas,
        PRODUCTS,
        products::list,
        "listProducts",
        "List products, newest first",
    )
    .conditional_response_with_time(products)
}

fn read_product(schemas: &mut Schemas) -> Operation {
    let schema = schemas.response::<ProductBody<'static>>();
    let product = ResponseSpec::new(200, "The product.").json(schema, example_product());
    Operation::get(
        schemas,
        PRODUCT,
        products::read,
        "readProduct",
        "Read a product, with its drops",
    )
    .conditional_response_with_time(product)
}

fn delete_product(schemas: &mut Schemas) -> Operation {
    Operation::delete(
        schemas,
        PRODUCT,
        products::delete,
        "deleteProduct",
        "Delete a product",
    )
    .description("Its drops keep its id.")
    .response(ResponseSpec::new(204, "The product is deleted."))
}
