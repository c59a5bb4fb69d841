//! Callers' keys and saved providers.

use crate::{done, open, reopen};
use domain::ids::KeyId;
use futures::FutureExt;
use store::{CallerKey, Credentials, ProviderRow, StoreError, Vault};

fn secret(digit: char) -> String {
    format!("tfk_{}", digit.to_string().repeat(64))
}

fn key(name: &str, expires_ms: Option<i64>) -> CallerKey {
    CallerKey {
        id: store::new_id(KeyId::from_uuid),
        name: name.into(),
        models: Some(vec!["openai/*".into()]),
        budget: Some("5 USD/month".parse().unwrap()),
        expires_ms,
    }
}

#[tokio::test]
async fn a_key_is_found_by_its_secret_until_it_ends() {
    let (store, dir) = open().await;
    let insert = |k: CallerKey, s: String| {
        let store = store.clone();
        async move {
            let made = store
                .write(store::Durability::Power, move |tx| async move { tx.key_insert(k, &s, "ada").await }.boxed())
                .await;
            store.keys_refresh().await.unwrap();
            made
        }
    };
    let made = insert(key("ci", None), secret('a')).await.unwrap();
    assert!(matches!(insert(key("ci", None), secret('b')).await, Err(StoreError::Conflict { code: "name_taken", .. })));
    insert(key("old", Some(1)), secret('c')).await.unwrap();

    let ring = store.keys();
    assert_eq!(*ring.find(&secret('a')).unwrap(), made.key);
    let same_lookup = format!("tfk_{}{}", "a".repeat(63), "b");
    for bad in [secret('b'), secret('c'), same_lookup, String::new()] {
        assert!(ring.find(&bad).is_none(), "{bad}");
    }
    let reopened = reopen(&dir).await;
    assert_eq!(reopened.keys().find(&secret('a')).unwrap().name, "ci");

    let revoked = done(&store, |tx| async move { tx.key_revoke("ci").await }.boxed()).await;
    store.keys_forget(&revoked).await.unwrap();
    assert!(ring.find(&secret('a')).is_none(), "revoked");
    assert!(store.key_get("ci").await.unwrap().revoked_at.is_some());
    assert_eq!(insert(key("ci", None), secret('d')).await.unwrap().key.name, "ci", "the name is free again");
    assert_eq!(store.key_list().await.unwrap().len(), 3);
    let file = std::fs::read(dir.path().join("state.db")).unwrap();
    let wal = std::fs::read(dir.path().join("state.db-wal")).unwrap_or_default();
    let all = [file, wal].concat();
    assert!(!all.windows(68).any(|w| w == secret('d').as_bytes()), "only hashes are stored");
}

#[tokio::test]
async fn a_provider_is_saved_replaced_and_removed() {
    let (store, dir) = open().await;
    let vault = Vault::open_or_create(&dir.path().join("provider.key")).unwrap();
    let save = |text: &str| {
        let credentials = Credentials { api_key: Some(text.into()), ..Credentials::default() };
        let row = ProviderRow {
            name: "lab".into(),
            kind: "openai-compatible".into(),
            base_url: "http://10.0.0.5/v1".into(),
            settings: serde_json::json!({"max_concurrency": 4}),
            headers: vec![],
            fingerprint: Some(store::fingerprint(text)),
            sealed: vault.seal("lab", "openai-compatible", "http://10.0.0.5/v1", &credentials).unwrap(),
            saved_by: "ada".into(),
            created_at: String::new(),
            updated_at: String::new(),
        };
        done(&store, move |tx| async move { tx.provider_save(&row).await }.boxed())
    };
    save("sk-one-secret").await;
    save("sk-two-secret").await;
    let all = store.provider_list().await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!(vault.open(&all[0]).unwrap().api_key.as_deref(), Some("sk-two-secret"));
    assert_eq!(all[0].settings["max_concurrency"], 4);
    done(&store, |tx| async move { tx.provider_remove("lab").await }.boxed()).await;
    assert!(store.provider_list().await.unwrap().is_empty());
}
