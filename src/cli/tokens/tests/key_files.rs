//! Which files of keys are accepted, and which key verifies a token.

use super::*;

#[test]
fn t52d_kid_selects_the_key() {
    let jwk = |id: Option<&str>, secret: &[u8]| {
        let mut jwk = json!({"kty": "oct", "k": BASE64URL_NOPAD.encode(secret)});
        if let Some(id) = id {
            jwk["kid"] = id.into();
        }
        jwk
    };
    let set = json!({"keys": [jwk(Some("old"), SECRET), jwk(Some("new"), OTHER)]}).to_string();
    let keys = with_keys(&[(Kind::Jwks, set.as_bytes())]);
    let with_id = |id: Value, bytes: &[u8]| {
        let header = json!({"alg": "HS256", "kid": id});
        signed(&header, &secret(bytes), Algorithm::HS256)
    };
    assert_eq!(verify(&keys, &with_id("old".into(), SECRET)), Ok(()));
    assert_eq!(verify(&keys, &with_id("new".into(), OTHER)), Ok(()));
    let swapped = with_id("new".into(), SECRET);
    assert_eq!(verify(&keys, &swapped), Err(Invalid::Signature));
    let unknown = with_id("newer".into(), SECRET);
    assert_eq!(verify(&keys, &unknown), Err(Invalid::UnknownKey));
    let wrong = with_id(json!(7), SECRET);
    assert_eq!(verify(&keys, &wrong), Err(Invalid::HeaderNotRead));
    // Without an id on either side, every key is tried.
    assert_eq!(
        verify(&keys, &token(&secret(OTHER), Algorithm::HS256)),
        Ok(())
    );
    assert_eq!(verify(&with_hmac(), &with_id("any".into(), SECRET)), Ok(()));
}

#[test]
fn jwk_files_accept_each_kind() {
    let jwks: Vec<Value> = private_keys()
        .iter()
        .map(|(key, algorithms)| {
            let jwk = Jwk::from_encoding_key(key, algorithms[0]).expect("the key is a JWK");
            let mut jwk = serde_json::to_value(jwk).expect("a JWK is JSON");
            // Many issuers leave it out.
            jwk.as_object_mut().expect("an object").remove("alg");
            jwk
        })
        .collect();
    let set = json!({"keys": jwks}).to_string();
    let all = with_keys(&[(Kind::Jwks, set.as_bytes())]);
    for ((private, algorithms), jwk) in private_keys().iter().zip(&jwks) {
        let token = token(private, algorithms[0]);
        assert_eq!(verify(&all, &token), Ok(()), "{algorithms:?} of a set");
        let one = with_keys(&[(Kind::Jwks, jwk.to_string().as_bytes())]);
        assert_eq!(verify(&one, &token), Ok(()), "{algorithms:?} alone");
        let mut other = jwk.clone();
        other["alg"] = "RS512".into();
        let set = json!({"keys": [other, {"kty": "oct", "k": "AAAA"}]}).to_string();
        let other = with_keys(&[(Kind::Jwks, set.as_bytes())]);
        assert!(verify(&other, &token).is_err(), "{algorithms:?} for RS512");
    }
}

#[test]
fn jwks_of_unknown_kinds_are_ignored() {
    let good =
        json!({"kty": "oct", "k": BASE64URL_NOPAD.encode(SECRET), "key_ops": ["sign", "verify"]});
    for ignored in [
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AAAA"}),
        json!({"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA"}),
        json!({"kty": "OKP", "crv": "X25519", "x": "AA"}),
        json!({"kty": "RSA", "alg": "RSA-OAEP", "n": "AA", "e": "AQAB"}),
        json!({"kty": "RSA", "use": "enc", "n": "AA", "e": "AQAB"}),
        json!({"kty": "oct", "key_ops": ["encrypt"], "k": "AA"}),
    ] {
        let set = json!({"keys": [ignored, good]}).to_string();
        let keys = with_keys(&[(Kind::Jwks, set.as_bytes())]);
        assert_eq!(
            verify(&keys, &token(&secret(SECRET), Algorithm::HS256)),
            Ok(()),
            "{set}"
        );
        let alone = json!({"keys": [ignored]}).to_string();
        let error = File::new(&alone)
            .read(Kind::Jwks)
            .expect_err("no key can be used");
        assert!(
            error.ends_with("the file has no key that can be used"),
            "{error}"
        );
    }
}

#[test]
fn broken_key_file_is_an_error_that_names_the_file_only() {
    let canary = BASE64URL_NOPAD.encode(b"canary canary canary canary canary");
    let cut = |content: &[u8]| content[..content.len() / 2].to_vec();
    let jwk = |jwk: Value| json!({"keys": [jwk]}).to_string().into_bytes();
    let many = vec![json!({"kty": "oct", "k": canary}); 65];
    for (kind, content) in [
        (Kind::Hmac, b"".to_vec()),
        (Kind::Hmac, b"\n".to_vec()),
        (Kind::Public, b"".to_vec()),
        (Kind::Public, canary.clone().into_bytes()),
        (Kind::Public, b"\xff\xfe".to_vec()),
        (Kind::Public, cut(RSA_PUBLIC)),
        (Kind::Public, cut(P256_PUBLIC)),
        (Kind::Public, RSA.to_vec()),
        (Kind::Public, [RSA_PUBLIC, ED25519].concat()),
        (
            Kind::Public,
            b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".to_vec(),
        ),
        (Kind::Jwks, b"{".to_vec()),
        (Kind::Jwks, b"[]".to_vec()),
        (Kind::Jwks, b"{}".to_vec()),
        (Kind::Jwks, br#"{"keys":[]}"#.to_vec()),
        (Kind::Jwks, br#"{"keys":{}}"#.to_vec()),
        (
            Kind::Jwks,
            jwk(json!({"kty": "oct", "k": format!("{canary}=")})),
        ),
        (Kind::Jwks, jwk(json!({"kty": "oct", "k": ""}))),
        (
            Kind::Jwks,
            jwk(json!({"kty": "oct", "k": canary, "alg": [canary]})),
        ),
        (
            Kind::Jwks,
            jwk(json!({"kty": "oct", "k": canary, "kid": 7})),
        ),
        (Kind::Jwks, jwk(json!({"k": canary}))),
        (
            Kind::Jwks,
            jwk(json!({"kty": "RSA", "n": canary, "e": "AQAB"})),
        ),
        (
            Kind::Jwks,
            jwk(json!({"kty": "EC", "crv": "P-256", "x": canary, "y": canary})),
        ),
        (
            Kind::Jwks,
            jwk(json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"})),
        ),
        (Kind::Jwks, json!({"keys": many}).to_string().into_bytes()),
    ] {
        let file = File::new(&content);
        let error = file.read(kind).map(drop).expect_err("the file is broken");
        let path = file.0.to_str().expect("the path is UTF-8");
        assert!(error.starts_with(path), "{error}");
        assert!(!error.contains(&canary), "{error}");
    }
}

#[test]
fn several_keys_of_one_file_are_read() {
    let both = [RSA_PUBLIC, b"# the next key\n", ED25519_PUBLIC].concat();
    let keys = with_keys(&[(Kind::Public, &both)]);
    for (private, algorithms) in private_keys() {
        let is_ours = matches!(algorithms[0], Algorithm::RS256 | Algorithm::EdDSA);
        let result = verify(&keys, &token(&private, algorithms[0]));
        assert_eq!(result.is_ok(), is_ours, "{algorithms:?}");
    }
}

#[test]
fn newline_at_the_end_is_no_part_of_a_secret() {
    let with_newline = |count: usize| [SECRET, "\n".repeat(count).as_bytes()].concat();
    let token = token(&secret(SECRET), Algorithm::HS512);
    for (count, is_valid) in [(0, true), (1, true), (2, false)] {
        let keys = with_keys(&[(Kind::Hmac, &with_newline(count))]);
        assert_eq!(verify(&keys, &token).is_ok(), is_valid, "{count}");
    }
}

#[test]
fn failed_reload_keeps_the_old_keys() {
    let file = File::new(SECRET);
    let keys = SignedTokens {
        files: vec![file.read(Kind::Hmac).expect("the file has a key")],
        required: Required::default(),
    };
    let [old, new] = [SECRET, OTHER].map(|bytes| token(&secret(bytes), Algorithm::HS256));
    assert_eq!(
        (verify(&keys, &old), verify(&keys, &new).is_ok()),
        (Ok(()), false)
    );
    std::fs::write(&file.0, OTHER).expect("the file can be written");
    keys.files[0].reload().expect("the file has a key");
    assert_eq!(
        (verify(&keys, &old).is_ok(), verify(&keys, &new)),
        (false, Ok(()))
    );
    std::fs::write(&file.0, b"").expect("the file can be written");
    keys.files[0].reload().expect_err("the file has no key");
    assert_eq!(verify(&keys, &new), Ok(()));
}

#[test]
fn debug_output_shows_no_key() {
    let shown = format!("{:?}", with_hmac());
    assert!(
        shown.contains("***") && !shown.contains("secret of"),
        "{shown}"
    );
    let digits = format!("{SECRET:?}");
    assert!(!shown.contains(&digits[1..20]), "{shown}");
}

/// Such a file is known to others, who could then sign tokens with its bytes.
#[test]
fn t52a_file_of_public_keys_is_no_secret() {
    let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"});
    let set = json!({"keys": [jwk]}).to_string();
    let after_text = [b"Bag Attributes\n".as_slice(), RSA_PUBLIC].concat();
    for content in [
        RSA_PUBLIC,
        P256_PUBLIC,
        RSA,
        &after_text,
        jwk.to_string().as_bytes(),
        set.as_bytes(),
    ] {
        let error = File::new(content)
            .read(Kind::Hmac)
            .expect_err("a file of another kind");
        assert!(error.contains("no secret"), "{error}");
    }
    for secret in [b"----- BEGIN -----".as_slice(), b"{\"a\":1}"] {
        File::new(secret).read(Kind::Hmac).expect("any other bytes");
    }
}
