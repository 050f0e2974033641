use std::fs;

use tempfile::TempDir;

use super::reloads::PAUSE;
use super::*;
use crate::jws::Hs256;

const ONE: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

fn in_file(text: &str) -> (TempDir, KeySource) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("keys.json");
    fs::write(&path, text).unwrap();
    (folder, KeySource::new(Location::File(path)).unwrap())
}

fn write(folder: &TempDir, text: &str) {
    fs::write(folder.path().join("keys.json"), text).unwrap();
}

fn two() -> String {
    let key = &ONE[9..ONE.len() - 2];
    format!(r#"{{"keys":[{key},{key}]}}"#)
}

#[test]
fn location_is_a_path_or_an_encrypted_url() {
    let location = |text: &str| text.parse::<Location>();
    assert_eq!(
        location("keys.json"),
        Ok(Location::File("keys.json".into()))
    );
    for url in [
        "https://shop.example/.well-known/jwks.json",
        "http://127.0.0.1:8000/jwks",
        "http://[::1]/jwks",
        "http://localhost/jwks",
    ] {
        assert!(matches!(location(url), Ok(Location::Url(_))), "{url}");
    }
    assert_eq!(location(""), Err(LocationError::Empty));
    assert_eq!(
        location("http://shop.example/jwks"),
        Err(LocationError::Unencrypted)
    );
    assert_eq!(
        location("http://localhost.example/jwks"),
        Err(LocationError::Unencrypted)
    );
    assert_eq!(
        location("https://user@shop.example/jwks"),
        Err(LocationError::Credentials)
    );
    assert!(matches!(location("https://"), Err(LocationError::Url(_))));
}

#[tokio::test]
async fn failed_load_keeps_the_keys_before() {
    let (folder, source) = in_file(ONE);
    assert!(source.current().is_none());
    source.load().await.unwrap();
    assert_eq!(source.current().unwrap().len(), 1);
    write(&folder, "{}");
    assert!(matches!(source.load().await, Err(LoadError::Use { .. })));
    fs::remove_file(folder.path().join("keys.json")).unwrap();
    assert!(matches!(source.load().await, Err(LoadError::Read { .. })));
    assert_eq!(source.current().unwrap().len(), 1);
    write(&folder, &"x".repeat(MAX_BYTES + 1));
    let error = source
        .load()
        .await
        .unwrap_err()
        .source()
        .unwrap()
        .to_string();
    assert_eq!(error, "it has 262145 bytes, and at most 262144 are read");
}

/// A token that is signed with a key of this id.
fn signed_with(kid: &str) -> String {
    let header = format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#);
    Hs256::new(b"not compared here").sign_parts(header.as_bytes(), b"{}")
}

async fn keys_for(source: &KeySource, kid: &str) -> usize {
    let token = signed_with(kid);
    let token = Unverified::parse(&token).unwrap();
    source.reloaded_for(&token).await.unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn new_key_is_loaded_at_once_after_another_unknown_one() {
    let (folder, source) = in_file(ONE);
    assert_eq!(keys_for(&source, "made up").await, 1);
    write(&folder, &two());
    assert_eq!(keys_for(&source, "made up").await, 1);
    assert_eq!(keys_for(&source, "2").await, 2);
}

#[tokio::test(start_paused = true)]
async fn unknown_key_causes_at_most_one_reload_in_ten_seconds() {
    let (folder, source) = in_file(ONE);
    assert_eq!(keys_for(&source, "2").await, 1);
    write(&folder, &two());
    tokio::time::advance(PAUSE - Duration::from_millis(1)).await;
    assert_eq!(keys_for(&source, "2").await, 1);
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(keys_for(&source, "2").await, 2);
}

#[tokio::test(start_paused = true)]
async fn keys_are_reloaded_regularly_until_the_stop() {
    let (folder, source) = in_file(ONE);
    source.load().await.unwrap();
    let stopping = CancellationToken::new();
    let running = tokio::spawn(source.clone().keep_current(stopping.clone()));
    write(&folder, &two());
    // Reading the file needs a thread, which the paused clock does not wait for.
    while source.current().unwrap().len() == 1 {
        tokio::time::sleep(INTERVAL).await;
    }
    stopping.cancel();
    running.await.unwrap();
}
