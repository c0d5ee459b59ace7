//! The parts of an X.509 certificate that are needed beside `webpki` (RFC 5280, section 4.1), read in bounds.
//!
//! `webpki` verifies; this gives what it does not (expiry, the hash of the signature), also for certificates
//! that it refuses and libpq accepts (version 1, no subjectAltName).

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use crate::calendar::Date;

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const BOOLEAN: u8 = 0x01;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The explicit tags of `version`, of `extensions` and of the hash of RSASSA-PSS-params.
const CONTEXT_0: u8 = 0xa0;
const CONTEXT_3: u8 = 0xa3;

/// id-at-commonName, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
/// id-ce-subjectAltName, 2.5.29.17.
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 17];
/// 1.2.840.113549.1.1, the arc of the signatures with RSA.
const PKCS1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1];
/// 1.2.840.10045.4, the arc of the signatures with ECDSA.
const ECDSA: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4];
/// 2.16.840.1.101.3.4.2, the arc of the hashes.
const HASHES: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2];
/// id-sha1, 1.3.14.3.2.26.
const SHA1: &[u8] = &[0x2b, 0x0e, 3, 2, 0x1a];

/// A certificate, borrowed from its DER.
#[derive(Debug, Clone, Copy)]
pub struct Certificate<'a> {
    /// The signed part, TBSCertificate, with its head.
    pub signed: &'a [u8],
    /// The issuer's name, with its head.
    pub issuer: &'a [u8],
    /// The subject's name, with its head.
    pub subject: &'a [u8],
    /// Seconds since 1970.
    pub not_before: i64,
    /// Seconds since 1970.
    pub not_after: i64,
    /// SubjectPublicKeyInfo, with its head.
    pub key_info: &'a [u8],
    /// The AlgorithmIdentifier in it, without its head, as `webpki` compares it.
    pub key_algorithm: &'a [u8],
    /// The public key itself.
    pub key: &'a [u8],
    /// The AlgorithmIdentifier of the signature, without its head.
    pub signature_algorithm: &'a [u8],
    /// The signature itself.
    pub signature: &'a [u8],
    /// Whether it has a subjectAltName.
    pub has_alternative_names: bool,
}

/// Reads the elements of DER one after the other.
struct Walk<'a>(&'a [u8]);

struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    /// With its head.
    whole: &'a [u8],
}

impl<'a> Walk<'a> {
    /// The next element. Lengths of more than four bytes do not occur in a certificate.
    fn next(&mut self) -> Option<Element<'a>> {
        let (&[tag, first], after) = self.0.split_first_chunk::<2>()?;
        let (length, rest) = match first {
            ..=0x7f => (usize::from(first), after),
            0x81..=0x84 => {
                let (bytes, rest) = after.split_at_checked(usize::from(first & 0x7f))?;
                let number = |sum: u32, byte: &u8| (sum << 8) | u32::from(*byte);
                let length = bytes.iter().fold(0, number);
                (usize::try_from(length).ok()?, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        let whole = self.0.get(..self.0.len() - rest.len())?;
        self.0 = rest;
        Some(Element {
            tag,
            content,
            whole,
        })
    }

    /// The next element, which must be of this type.
    fn take(&mut self, tag: u8) -> Option<Element<'a>> {
        self.next().filter(|element| element.tag == tag)
    }

    /// The next element where it is of this type; else nothing is taken.
    fn optional(&mut self, tag: u8) -> Option<Element<'a>> {
        (self.0.first() == Some(&tag)).then(|| self.next())?
    }
}

impl<'a> Certificate<'a> {
    /// Reads one certificate; `None` for anything else, also for bytes behind it.
    pub fn parse(der: &'a [u8]) -> Option<Certificate<'a>> {
        let mut all = Walk(der);
        let mut outer = Walk(all.take(SEQUENCE)?.content);
        let signed = outer.take(SEQUENCE)?;
        let signature_algorithm = outer.take(SEQUENCE)?.content;
        let signature = bits(&outer.take(BIT_STRING)?)?;
        // Bytes that are not parsed must not enter the hash of the channel binding.
        if !(all.0.is_empty() && outer.0.is_empty()) {
            return None;
        }

        let mut walk = Walk(signed.content);
        walk.optional(CONTEXT_0);
        walk.take(INTEGER)?;
        walk.take(SEQUENCE)?;
        let issuer = walk.take(SEQUENCE)?.whole;
        let mut validity = Walk(walk.take(SEQUENCE)?.content);
        let not_before = time(&validity.next()?)?;
        let not_after = time(&validity.next()?)?;
        let subject = walk.take(SEQUENCE)?.whole;
        let key_info = walk.take(SEQUENCE)?;
        let mut info = Walk(key_info.content);
        let key_algorithm = info.take(SEQUENCE)?.content;
        let key = bits(&info.take(BIT_STRING)?)?;
        // The optional unique identifiers come before the extensions.
        let mut has_alternative_names = false;
        while let Some(element) = walk.next() {
            if element.tag == CONTEXT_3 {
                has_alternative_names = has_extension(element.content, SUBJECT_ALT_NAME)?;
            }
        }
        Some(Certificate {
            signed: signed.whole,
            issuer,
            subject,
            not_before,
            not_after,
            key_info: key_info.whole,
            key_algorithm,
            key,
            signature_algorithm,
            signature,
            has_alternative_names,
        })
    }

    /// The last common name of the subject, which is the most specific one.
    pub fn common_name(&self) -> Option<&'a str> {
        let mut names = Walk(Walk(self.subject).take(SEQUENCE)?.content);
        let mut found = None;
        while let Some(set) = names.take(SET) {
            let mut attributes = Walk(set.content);
            while let Some(attribute) = attributes.take(SEQUENCE) {
                let mut walk = Walk(attribute.content);
                if walk.take(OID)?.content == COMMON_NAME {
                    found = std::str::from_utf8(walk.next()?.content).ok();
                }
            }
        }
        found
    }

    /// The channel binding data of type `tls-server-end-point` for this certificate (RFC 5929, section
    /// 4.1): its hash by the hash of its signature, or by SHA-256 where that is MD5 or SHA-1. `None` for a
    /// signature without a hash of its own (Ed25519), for which there is no channel binding.
    pub fn end_point_hash(&self, der: &[u8]) -> Option<Vec<u8>> {
        let mut walk = Walk(self.signature_algorithm);
        let algorithm = walk.take(OID)?.content;
        let size = if let Some(last) = algorithm.strip_prefix(PKCS1) {
            match last {
                // MD5 and SHA-1.
                [4 | 5] => 256,
                [10] => pss_hash(walk.take(SEQUENCE)?.content)?,
                [11] => 256,
                [12] => 384,
                [13] => 512,
                [14] => 224,
                _ => return None,
            }
        } else {
            match algorithm.strip_prefix(ECDSA)? {
                // SHA-1.
                [1] => 256,
                [3, 1] => 224,
                [3, 2] => 256,
                [3, 3] => 384,
                [3, 4] => 512,
                _ => return None,
            }
        };
        Some(match size {
            224 => Sha224::digest(der).to_vec(),
            384 => Sha384::digest(der).to_vec(),
            512 => Sha512::digest(der).to_vec(),
            _ => Sha256::digest(der).to_vec(),
        })
    }
}

/// The size of the hash in RSASSA-PSS-params (RFC 4055, section 3.1); the default is SHA-1.
fn pss_hash(parameters: &[u8]) -> Option<u32> {
    let Some(hash) = Walk(parameters).optional(CONTEXT_0) else {
        return Some(256);
    };
    let algorithm = Walk(hash.content).take(SEQUENCE)?.content;
    let oid = Walk(algorithm).take(OID)?.content;
    if oid == SHA1 {
        return Some(256);
    }
    match oid.strip_prefix(HASHES)? {
        [1] => Some(256),
        [2] => Some(384),
        [3] => Some(512),
        [4] => Some(224),
        _ => None,
    }
}

/// Whether one of the extensions is this one.
fn has_extension(extensions: &[u8], wanted: &[u8]) -> Option<bool> {
    let mut list = Walk(Walk(extensions).take(SEQUENCE)?.content);
    let mut found = false;
    while let Some(extension) = list.next() {
        let mut walk = Walk(extension.content);
        found |= walk.take(OID)?.content == wanted;
        walk.optional(BOOLEAN);
        walk.take(OCTET_STRING)?;
    }
    Some(found)
}

/// A BIT STRING of whole bytes.
fn bits<'a>(element: &Element<'a>) -> Option<&'a [u8]> {
    match element.content.split_first()? {
        (0, bytes) => Some(bytes),
        _ => None,
    }
}

/// UTCTime `YYMMDDHHMMSSZ` or GeneralizedTime `YYYYMMDDHHMMSSZ` as seconds since 1970 (RFC 5280, section
/// 4.1.2.5).
fn time(element: &Element<'_>) -> Option<i64> {
    let digits = element.content.strip_suffix(b"Z")?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let text = std::str::from_utf8(digits).ok()?;
    let (year, rest): (i64, &str) = match element.tag {
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i64 = year.parse().ok()?;
            (year + if year < 50 { 2000 } else { 1900 }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            (year.parse().ok()?, rest)
        }
        _ => return None,
    };
    if rest.len() != 10 {
        return None;
    }
    let part = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let (month, day) = (part(0)?, part(2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let days = Date { year, month, day }.unix_days();
    Some(((days * 24 + part(4)?) * 60 + part(6)?) * 60 + part(8)?)
}

#[cfg(test)]
mod tests;
