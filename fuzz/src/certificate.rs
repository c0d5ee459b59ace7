//! A certificate, as a server shows it.

use zemi::fuzzing::Certificate;

use super::meter;

pub fn run(data: &[u8]) {
    meter::within(data.len(), 2, 16 * 1024, || {
        let Some(certificate) = Certificate::parse(data) else {
            return;
        };
        for part in [
            certificate.signed,
            certificate.issuer,
            certificate.subject,
            certificate.key_info,
            certificate.key_algorithm,
            certificate.key,
            certificate.signature_algorithm,
            certificate.signature,
        ] {
            assert!(part.is_empty() || data.as_ptr_range().contains(&part.as_ptr()));
            assert!(part.len() < data.len());
        }
        // Years have four digits.
        let years = -62_200_000_000..=253_500_000_000;
        assert!(years.contains(&certificate.not_before) && years.contains(&certificate.not_after));
        if let Some(name) = certificate.common_name() {
            let subject = certificate.subject;
            assert!(name.len() < subject.len());
        }
        if let Some(hash) = certificate.end_point_hash(data) {
            assert!([28, 32, 48, 64].contains(&hash.len()));
        }
        // A part of a certificate is none.
        assert!(Certificate::parse(&data[..data.len() / 2]).is_none());
    });
}
