//! The schema and an example of the challenge in a problem: ALTCHA's, version 2.

use serde_json::{Value, json};

pub(super) fn schema() -> Value {
    let text = || json!({ "type": "string" });
    let hex =
        |bytes: u32| json!({ "type": "string", "pattern": format!("^[0-9a-f]{{{}}}$", 2 * bytes) });
    let whole = |description: &str| json!({ "type": "integer", "format": "int64", "description": description });
    let object = |properties: Value| {
        let names: Vec<&String> = properties
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name)
            .collect();
        json!({ "type": "object", "required": names, "properties": properties })
    };
    let data = object(json!({
        "difficulty": whole("That of the drop; of an order, the largest of its drops."), "request": text(),
    }));
    let parameters = object(json!({
        "algorithm": text(), "cost": whole("Iterations of one derivation."), "data": data,
        "expiresAt": whole("Seconds since the Unix epoch."),
        "keyLength": whole("Bytes of a derived key."), "keyPrefix": hex(16), "keySignature": hex(32),
        "nonce": hex(16), "salt": hex(16),
    }));
    let mut schema = object(json!({ "parameters": parameters, "signature": hex(32) }));
    schema["description"] =
        "A challenge of ALTCHA, version 2: find the smallest `counter` for which \
        PBKDF2 of the bytes of `nonce` and the counter (32 bits, big endian) begins with \
        `keyPrefix`."
            .into();
    schema
}

pub(super) fn example() -> Value {
    json!({
        "parameters": {
            "algorithm": "PBKDF2/SHA-256", "cost": 500,
            "data": { "difficulty": 4, "request": "6a1f0e5b9c2d47388e90a1b2c3d4e5f6" },
            "expiresAt": 1_772_366_520, "keyLength": 32,
            "keyPrefix": "b8a0b84de1b6a5f46c1f8f2c07c4f1d2",
            "keySignature": "5f0c7d5f1d2b3a49586776859403a2b1c0dfeeedfc0b1a29384756657483920a",
            "nonce": "c01dc0ffee0123456789abcdef012345", "salt": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
        },
        "signature": "9b8a79685746352413021f0e0d0c0b0a99887766554433221100ffeeddccbbaa",
    })
}
