//! Which algorithms and headers of a token are accepted.

use super::*;

#[test]
fn t52a_algorithm_is_bound_to_the_key() {
    let mut tried = 0;
    for (kind, content, accepted) in key_files() {
        let keys = with_keys(&[(kind, content)]);
        for (private, algorithms) in private_keys() {
            for algorithm in algorithms {
                let result = verify(&keys, &token(&private, algorithm));
                let expected = if accepted.contains(&algorithm) {
                    Ok(())
                } else {
                    Err(Invalid::Algorithm)
                };
                assert_eq!(result, expected, "{kind:?} {accepted:?}, {algorithm:?}");
                tried += 1;
            }
        }
    }
    assert_eq!(tried, 44);
}

#[test]
fn t52a_public_key_is_no_secret() {
    for (kind, content, _) in key_files().into_iter().skip(1) {
        let keys = with_keys(&[(kind, content)]);
        let der = pem_content(content);
        for bytes in [content, content.trim_ascii_end(), &der] {
            for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
                let forged = token(&secret(bytes), algorithm);
                assert_eq!(verify(&keys, &forged), Err(Invalid::Algorithm));
            }
        }
        // Also when the server has a secret of its own.
        let both = with_keys(&[(kind, content), (Kind::Hmac, OTHER)]);
        let forged = token(&secret(content), Algorithm::HS256);
        assert_eq!(verify(&both, &forged), Err(Invalid::Signature));
    }
}

fn pem_content(pem: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(pem).expect("PEM is text");
    let body: String = text
        .lines()
        .filter(|line| !line.starts_with("--"))
        .collect();
    data_encoding::BASE64
        .decode(body.as_bytes())
        .expect("PEM is base64")
}

#[test]
fn t52a_none_is_refused_in_every_case() {
    let keys = with_keys(&[(Kind::Hmac, SECRET), (Kind::Public, RSA_PUBLIC)]);
    for bits in 0..16 {
        let name: String = "none"
            .chars()
            .enumerate()
            .map(|(n, c)| {
                if bits >> n & 1 == 1 {
                    c.to_ascii_uppercase()
                } else {
                    c
                }
            })
            .collect();
        let message = message(&json!({"alg": name}));
        let right = crypto::sign(message.as_bytes(), &secret(SECRET), Algorithm::HS256);
        for signature in ["", "AA", &right.expect("the key can sign")] {
            let result = verify(&keys, &format!("{message}.{signature}"));
            assert_eq!(result, Err(Invalid::NoAlgorithm), "{name}");
        }
    }
    for alg in [
        json!(""),
        json!("HS257"),
        json!("hs256"),
        json!(" none"),
        json!("none\0"),
    ] {
        let result = verify(
            &keys,
            &signed(&json!({"alg": alg}), &secret(SECRET), Algorithm::HS256),
        );
        assert_eq!(result, Err(Invalid::Algorithm), "{alg}");
    }
    for header in [
        json!({}),
        json!({"alg": null}),
        json!({"alg": ["HS256"]}),
        json!([]),
        json!(["HS256", null, null]),
        json!("x"),
    ] {
        let result = verify(&keys, &signed(&header, &secret(SECRET), Algorithm::HS256));
        assert_eq!(result, Err(Invalid::HeaderNotRead), "{header}");
    }
}

#[test]
fn t52a_critical_header_is_refused() {
    let keys = with_hmac();
    for crit in [
        json!(["exp"]),
        json!(["b64"]),
        json!([]),
        json!(null),
        json!("x"),
        json!(["x"]),
    ] {
        let header = json!({"alg": "HS256", "crit": crit, "b64": true, "x": 1});
        let result = verify(&keys, &signed(&header, &secret(SECRET), Algorithm::HS256));
        assert_eq!(result, Err(Invalid::Critical), "{header}");
    }
}

#[test]
fn t52a_keys_in_the_header_are_ignored() {
    let attacker = secret(OTHER);
    let jwk = Jwk::from_encoding_key(&attacker, Algorithm::HS256).expect("the key is a JWK");
    let keys = with_hmac();
    for header in [
        json!({"alg": "HS256", "jwk": jwk}),
        json!({"alg": "HS256", "jku": "http://127.0.0.1:1/keys"}),
        json!({"alg": "HS256", "x5u": "http://127.0.0.1:1/keys", "x5c": ["AA=="]}),
    ] {
        let forged = signed(&header, &attacker, Algorithm::HS256);
        assert_eq!(verify(&keys, &forged), Err(Invalid::Signature), "{header}");
        let ours = signed(&header, &secret(SECRET), Algorithm::HS256);
        assert_eq!(verify(&keys, &ours), Ok(()), "{header}");
    }
    // A repeated field could be read in two ways.
    let header = BASE64URL_NOPAD.encode(br#"{"alg":"HS256","alg":"none"}"#);
    let repeated = format!("{header}.e30.");
    assert_eq!(verify(&keys, &repeated), Err(Invalid::HeaderNotRead));
}

#[test]
fn changed_token_is_refused() {
    let keys = with_hmac();
    let token = token(&secret(SECRET), Algorithm::HS256);
    assert_eq!(verify(&keys, &token), Ok(()));
    for at in 0..token.len() {
        for other in ["A", "B", ".", "=", "+", ""] {
            let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
            assert!(
                changed == token || verify(&keys, &changed).is_err(),
                "{changed}"
            );
        }
    }
    for changed in [
        format!("{token}A"),
        format!("{token}."),
        format!("{token}="),
        format!(".{token}"),
        format!(" {token}"),
    ] {
        assert!(verify(&keys, &changed).is_err(), "{changed}");
    }
    for other in ["", ".", "..", "...", "a", "a.b", "\u{e9}.\u{e9}.\u{e9}"] {
        assert!(verify(&keys, other).is_err(), "{other}");
    }
}

#[test]
fn t52a_huge_token_is_refused_before_it_is_decoded() {
    let keys = with_hmac();
    let of_length = |padding: usize| {
        let header = json!({"alg": "HS256", "pad": "x".repeat(padding)});
        signed(&header, &secret(SECRET), Algorithm::HS256)
    };
    let (allowed, huge) = (of_length(5900), of_length(6100));
    assert!(allowed.len() <= MAX_TOKEN && huge.len() > MAX_TOKEN);
    assert_eq!(verify(&keys, &allowed), Ok(()));
    assert_eq!(verify(&keys, &huge), Err(Invalid::TooLong));
    assert_eq!(verify(&keys, &"A".repeat(1 << 20)), Err(Invalid::TooLong));
}
