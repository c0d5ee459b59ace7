#![allow(clippy::unwrap_used)]
use super::*;

use proptest::prelude::*;

/// An element of DER.
fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut out = vec![tag];
    match u8::try_from(content.len()) {
        Ok(short @ ..=0x7f) => out.push(short),
        _ => {
            out.push(0x82);
            out.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
        }
    }
    out.extend(content);
    out
}

fn algorithm(oid: &[&[u8]], parameters: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[&element(OID, oid), parameters])
}

fn name(common: &[&str]) -> Vec<u8> {
    let attribute = |text: &&str| {
        let value = element(0x0c, &[text.as_bytes()]);
        let pair = element(SEQUENCE, &[&element(OID, &[COMMON_NAME]), &value]);
        element(SET, &[&pair])
    };
    let parts: Vec<Vec<u8>> = common.iter().map(attribute).collect();
    element(
        SEQUENCE,
        &parts.iter().map(Vec::as_slice).collect::<Vec<_>>(),
    )
}

/// A certificate with this signature algorithm.
fn certificate(signature: &[u8], extension: Option<&[u8]>) -> Vec<u8> {
    let version = element(CONTEXT_0, &[&element(INTEGER, &[&[2]])]);
    let validity = element(
        SEQUENCE,
        &[
            &element(UTC_TIME, &[b"261124132914Z"]),
            &element(GENERALIZED_TIME, &[b"20361121132914Z"]),
        ],
    );
    let key = element(
        SEQUENCE,
        &[
            &algorithm(&[ECDSA, &[9]], &[]),
            &element(BIT_STRING, &[&[0, 7, 7]]),
        ],
    );
    let extensions = extension.map_or(Vec::new(), |oid| {
        let one = element(
            SEQUENCE,
            &[
                &element(OID, &[oid]),
                &element(BOOLEAN, &[&[255]]),
                &element(OCTET_STRING, &[b"x"]),
            ],
        );
        element(CONTEXT_3, &[&element(SEQUENCE, &[&one])])
    });
    let signed = element(
        SEQUENCE,
        &[
            &version,
            &element(INTEGER, &[&[1]]),
            signature,
            &name(&["issuer"]),
            &validity,
            &name(&["a.example", "db.example"]),
            &key,
            &extensions,
        ],
    );
    element(
        SEQUENCE,
        &[&signed, signature, &element(BIT_STRING, &[&[0, 9]])],
    )
}

#[test]
fn the_parts_of_a_certificate_are_found() {
    let algorithm = algorithm(&[ECDSA, &[3, 2]], &[]);
    let der = certificate(&algorithm, Some(SUBJECT_ALT_NAME));
    let found = Certificate::parse(&der).unwrap();
    // date -u -d '2026-11-24 13:29:14' +%s
    assert_eq!(found.not_before, 1_795_526_954);
    assert_eq!(found.not_after, 2_110_886_954);
    assert_eq!(found.common_name(), Some("db.example"));
    assert_eq!(found.issuer, name(&["issuer"]));
    assert_eq!(found.key, [7, 7]);
    assert_eq!(found.signature, [9]);
    assert!(found.has_alternative_names);
    let der = certificate(&algorithm, Some(&[0x55, 0x1d, 19]));
    assert!(!Certificate::parse(&der).unwrap().has_alternative_names);
    let der = certificate(&algorithm, None);
    assert!(!Certificate::parse(&der).unwrap().has_alternative_names);
    for end in 0..der.len() {
        assert!(Certificate::parse(&der[..end]).is_none(), "{end}");
    }
}

#[test]
fn the_hash_of_the_binding_is_that_of_the_signature() {
    let pss = |hash: &[&[u8]]| {
        let hash = element(CONTEXT_0, &[&algorithm(hash, &[])]);
        algorithm(&[PKCS1, &[10]], &element(SEQUENCE, &[&hash]))
    };
    let pkcs1 = |last: u8| algorithm(&[PKCS1, &[last]], &[5, 0]);
    let ecdsa = |last: &[u8]| algorithm(&[ECDSA, last], &[]);
    for (signature, length) in [
        (pkcs1(4), Some(32)),
        (pkcs1(5), Some(32)),
        (pkcs1(11), Some(32)),
        (pkcs1(12), Some(48)),
        (pkcs1(13), Some(64)),
        (pkcs1(14), Some(28)),
        (pkcs1(1), None),
        (ecdsa(&[1]), Some(32)),
        (ecdsa(&[3, 1]), Some(28)),
        (ecdsa(&[3, 2]), Some(32)),
        (ecdsa(&[3, 3]), Some(48)),
        (ecdsa(&[3, 4]), Some(64)),
        (
            algorithm(&[PKCS1, &[10]], &element(SEQUENCE, &[])),
            Some(32),
        ),
        (pss(&[SHA1]), Some(32)),
        (pss(&[HASHES, &[1]]), Some(32)),
        (pss(&[HASHES, &[2]]), Some(48)),
        (pss(&[HASHES, &[3]]), Some(64)),
        (pss(&[HASHES, &[8]]), None),
        // Ed25519.
        (algorithm(&[&[0x2b, 0x65, 0x70]], &[]), None),
    ] {
        let der = certificate(&signature, None);
        let hash = Certificate::parse(&der).unwrap().end_point_hash(&der);
        assert_eq!(hash.map(|hash| hash.len()), length, "{signature:x?}");
    }
}

#[test]
fn times_are_those_of_the_calendar() {
    let seconds = |tag, text: &str| {
        let der = element(tag, &[text.as_bytes()]);
        time(&Walk(&der).next().unwrap())
    };
    assert_eq!(seconds(UTC_TIME, "700101000000Z"), Some(0));
    assert_eq!(seconds(UTC_TIME, "000229235959Z"), Some(951_868_799));
    assert_eq!(
        seconds(GENERALIZED_TIME, "20500101000000Z"),
        Some(2_524_608_000)
    );
    assert_eq!(
        seconds(GENERALIZED_TIME, "99991231235959Z"),
        Some(253_402_300_799)
    );
    for bad in [
        "7001010000Z",
        "700101000000",
        "701301000000Z",
        "7001010000+1Z",
        "7001010000000Z",
    ] {
        assert_eq!(seconds(UTC_TIME, bad), None, "{bad}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_leave_its_bounds(
        at in 0_usize..300,
        bytes in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let signature = algorithm(&[PKCS1, &[10]], &element(SEQUENCE, &[]));
        let mut der = certificate(&signature, Some(SUBJECT_ALT_NAME));
        for (target, byte) in der.iter_mut().skip(at).zip(bytes) {
            *target = byte;
        }
        if let Some(certificate) = Certificate::parse(&der) {
            certificate.common_name();
            certificate.end_point_hash(&der);
        }
    }
}

#[test]
fn bytes_after_a_certificate_or_inside_of_it_are_refused() {
    let der = certificate(&algorithm(&[PKCS1, &[11]], &[]), None);
    assert!(Certificate::parse(&der).is_some());
    assert!(Certificate::parse(&[&der[..], &[0]].concat()).is_none());
    assert!(Certificate::parse(&der.repeat(2)).is_none());
    let parts = Walk(&der).next().unwrap().content;
    let longer = element(SEQUENCE, &[parts, &element(INTEGER, &[&[1]])]);
    assert!(Certificate::parse(&longer).is_none());
}
