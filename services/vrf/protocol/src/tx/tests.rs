#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use alloy_primitives::U256;
use proptest::prelude::*;

use super::*;

fn key(number: u8) -> SigningKey {
    SigningKey::from_slice(&[number.max(1); 32]).unwrap()
}

fn message(number: u64, version: MessageType) -> RequestDataMsg {
    RequestDataMsg {
        version,
        message: MsgRequestData {
            oracle_script_id: number,
            calldata: vec![number as u8; 68],
            ask_count: 16,
            min_count: 10,
            client_id: "vrf_worker".into(),
            fee_limit: vec![Coin { denom: "uband".into(), amount: "48".into() }],
            prepare_gas: 100_000,
            execute_gas: 400_000,
            sender: BandAddress::of_key(key(1).verifying_key()).to_string(),
            tss_encoder: 3,
        },
    }
}

fn input(messages: usize, sequence: u64) -> SignInput {
    SignInput {
        messages: (1..=messages as u64).map(|number| message(number, MessageType::V3)).collect(),
        memo: "windlass".into(),
        fee: 2000,
        denom: "uband".into(),
        gas_limit: 800_000,
        sequence,
        account_number: 7,
        chain_id: "bandchain-sim".into(),
    }
}

#[test]
fn a_signed_transaction_is_read_back() {
    for messages in [1, 2, 40] {
        let input = input(messages, 5);
        let signed = sign(&key(1), &input).unwrap();
        assert_eq!(sign(&key(1), &input).unwrap(), signed);
        let read = decode(&signed.bytes).unwrap();
        assert_eq!(read.requests.iter().map(|(_, message)| message.clone()).collect::<Vec<_>>(), input.messages);
        assert_eq!(read.requests.iter().map(|(place, _)| *place).collect::<Vec<_>>(), (0..messages).collect::<Vec<_>>());
        assert_eq!((read.sequence, read.gas_limit, read.memo.as_str()), (5, 800_000, "windlass"));
        assert_eq!(read.fee, [Coin { denom: "uband".into(), amount: "2000".into() }]);
        assert_eq!(read.hash, signed.hash);
        assert_eq!(read.sender(), BandAddress::of_key(key(1).verifying_key()));
        assert!(read.verify("bandchain-sim", 7));
        assert!(!read.verify("bandchain-sim", 8));
        assert!(!read.verify("another", 7));
    }
}

#[test]
fn a_signature_from_outside_makes_the_same_transaction() {
    let input = input(2, 0);
    let signed = sign(&key(3), &input).unwrap();
    let parts = unsigned(key(3).verifying_key(), &input);
    assert_eq!(parts.with_signature(&signed.signature), signed);
}

#[test]
fn a_changed_byte_breaks_the_signature_or_the_reading() {
    let signed = sign(&key(1), &input(1, 5)).unwrap();
    for place in 0..signed.bytes.len() {
        let mut changed = signed.bytes.to_vec();
        changed[place] ^= 1;
        assert!(decode(&changed).map_or(true, |read| !read.verify("bandchain-sim", 7)), "byte {place}");
    }
}

#[test]
fn chain_v2_has_its_own_type_and_no_encoder() {
    let any = message(1, MessageType::V2).to_any();
    assert_eq!(any.type_url, "/oracle.v1.MsgRequestData");
    let read = RequestDataMsg::from_any(&any).unwrap();
    assert_eq!((read.version, read.message.tss_encoder), (MessageType::V2, 0));
    assert_eq!(RequestDataMsg::from_any(&message(1, MessageType::V3).to_any()).unwrap().message.tss_encoder, 3);
    assert_eq!(RequestDataMsg::from_any(&Any { type_url: "/cosmos.bank.v1beta1.MsgSend".into(), value: vec![] }), None);
}

#[test]
fn transactions_of_other_kinds_are_named() {
    assert_eq!(decode(&[0xff]).unwrap_err(), DecodeError("envelope"));
    assert_eq!(decode(&[]).unwrap_err(), DecodeError("single signer"));
    let signed = sign(&key(1), &input(1, 5)).unwrap();
    let mut raw = TxRaw::decode(&signed.bytes[..]).unwrap();
    raw.signatures.clear();
    assert_eq!(decode(&raw.encode_to_vec()).unwrap_err(), DecodeError("direct signature"));
}

#[test]
fn addresses_are_read_back() {
    let address = BandAddress::of_key(key(1).verifying_key());
    assert_eq!(address.to_string().parse::<BandAddress>(), Ok(address));
    assert_eq!(BandAddress::parse_operator(&address.to_operator()), Ok(address));
    assert_eq!(BandAddress::parse_consensus(&address.to_consensus()), Ok(address));
    assert_eq!(address.to_string().to_uppercase().parse::<BandAddress>(), Ok(address));
    assert!(matches!(BandAddress::parse(&address.to_operator()), Err(AddressError::Prefix { prefix: "band", .. })));
    let mut wrong = address.to_string();
    wrong.pop();
    wrong.push(if address.to_string().ends_with('q') { 'p' } else { 'q' });
    assert!(matches!(BandAddress::parse(&wrong), Err(AddressError::Malformed(_))));
    let short = bech32::encode::<bech32::Bech32>(bech32::Hrp::parse("band").unwrap(), &[1; 19]).unwrap();
    assert!(matches!(BandAddress::parse(&short), Err(AddressError::Length(_))));
}

#[test]
fn fees_are_exact() {
    for (gas, price, expected) in [
        (800_000, "0.0025", 2000),
        (600_001, "0.003", 1801),
        (600_000, "0.003", 1800),
        (1, "0.0025", 1),
        (0, "0.0025", 0),
        (1, "0", 0),
        (1, "0.000", 0),
        (3, "0.1", 1),
        (10, "0.1", 1),
        (11, "0.1", 2),
        (800_000, "25e-4", 2000),
        (800_000, "2.5E-3", 2000),
        (7, "1", 7),
        (7, "1.", 7),
        (7, ".5", 4),
        (7, "1e3", 7000),
        (u64::MAX, "1", u128::from(u64::MAX)),
        (u64::MAX, "0.000000000000000001", 19),
        (u64::MAX, "1e-38", 1),
        (1, "1e-60", 1),
        (1, "00000000000000000000000000000000000000000000001", 1),
    ] {
        assert_eq!(fee(gas, price), Ok(expected), "{gas} * {price}");
    }
    for bad in ["", ".", "x", "-1", "+1", "1,5", "1e", "0x1", " 1", "1_0", "1e+x"] {
        assert_eq!(fee(1, bad), Err(FeeError::Malformed(bad.into())), "{bad}");
    }
    for large in ["1e38", "999999999999999999999999999999999999999999", "1e2147483647"] {
        assert!(matches!(fee(1000, large), Err(FeeError::TooLarge(_))), "{large}");
    }
}

proptest! {
    #[test]
    fn a_fee_is_the_smallest_that_pays_the_price(gas: u64, digits in 0u64.., places in 0usize..20) {
        let text = format!("{digits:0>width$}", width = places + 1);
        let (whole, part) = text.split_at(text.len() - places);
        let price = if places == 0 { whole.to_owned() } else { format!("{whole}.{part}") };
        let (product, divisor) = (U256::from(gas) * U256::from(digits), U256::from(10).pow(U256::from(places)));
        let expected = product.div_ceil(divisor);
        match fee(gas, &price) {
            Ok(ours) => prop_assert_eq!(U256::from(ours), expected),
            // Only the product of the fraction's digits may be out of range.
            Err(_) => prop_assert!(product.bit_len() > 128),
        }
    }

    #[test]
    fn foreign_transactions_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn foreign_texts_do_no_harm(text in ".{0,30}") {
        let _ = (fee(5, &text), BandAddress::parse(&text));
    }
}
