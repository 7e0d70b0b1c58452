#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use alloy_primitives::{I256, U256};
use proptest::prelude::*;

use super::*;

fn any_value(schema: &Schema) -> BoxedStrategy<Value> {
    match schema.clone() {
        Schema::Unsigned(size) => {
            prop::collection::vec(any::<u8>(), size).prop_map(|bytes| Value::Unsigned(U256::from_be_slice(&bytes))).boxed()
        }
        Schema::Signed(size) => (any::<bool>(), prop::collection::vec(any::<u8>(), size))
            .prop_map(|(negative, mut bytes)| {
                bytes[0] &= 0x7f;
                let number = I256::from_raw(U256::from_be_slice(&bytes));
                Value::Signed(if negative { -number } else { number })
            })
            .boxed(),
        Schema::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Schema::String => ".{0,20}".prop_map(Value::String).boxed(),
        Schema::Bytes => prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Value::Bytes(bytes.into())).boxed(),
        Schema::List(item) => prop::collection::vec(any_value(&item), 0..4).prop_map(Value::List).boxed(),
        Schema::Array(item, length) => prop::collection::vec(any_value(&item), length as usize).prop_map(Value::List).boxed(),
        Schema::Struct(fields) => {
            let (names, values): (Vec<_>, Vec<_>) = fields.iter().map(|(name, field)| (name.clone(), any_value(field))).unzip();
            values.prop_map(move |values| Value::Struct(names.iter().cloned().zip(values).collect())).boxed()
        }
    }
}

fn any_schema() -> impl Strategy<Value = Schema> {
    let size = prop::sample::select(vec![1usize, 2, 4, 8, 16, 32]);
    let leaf = prop_oneof![
        size.clone().prop_map(Schema::Unsigned),
        size.prop_map(Schema::Signed),
        Just(Schema::Bool),
        Just(Schema::String),
        Just(Schema::Bytes)
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|item| Schema::List(Box::new(item))),
            (inner.clone(), 1u32..4).prop_map(|(item, length)| Schema::Array(Box::new(item), length)),
            prop::collection::vec(("[a-z_]{1,5}", inner), 1..4).prop_map(Schema::Struct),
        ]
    })
}

proptest! {
    #[test]
    fn schemas_are_read_back(schema in any_schema()) {
        let text = schema.to_string();
        prop_assert_eq!(Schema::parse(&text), Ok(schema.clone()));
        let spread = text.replace(',', " , ").replace(':', ": ").replace('[', " [ ");
        prop_assert_eq!(Schema::parse(&spread), Ok(schema));
    }

    #[test]
    fn values_are_read_back((schema, value) in any_schema().prop_flat_map(|schema| (Just(schema.clone()), any_value(&schema)))) {
        let encoded = schema.encode(&value).unwrap();
        prop_assert_eq!(schema.decode(&encoded), Ok(value));
        prop_assert!(encoded.len() >= schema.smallest());
        let mut longer = encoded.clone();
        longer.push(0);
        prop_assert_eq!(schema.decode(&longer), Err(CodecError::NotFinished(1)));
        if let Some(shorter) = encoded.len().checked_sub(1) {
            prop_assert!(schema.decode(&encoded[..shorter]).is_err());
        }
    }

    #[test]
    fn foreign_bytes_do_no_harm(schema in any_schema(), bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        if let Ok(value) = schema.decode(&bytes) {
            prop_assert!(schema.encode(&value).unwrap().len() == bytes.len());
        }
        let _ = (Calldata::decode(&bytes), ResultV1::decode(&bytes), ResultV2::decode(&bytes));
    }

    #[test]
    fn foreign_texts_do_no_harm(text in "[\\[\\]{};:,a-z0-9 ]{0,40}") {
        let _ = Schema::parse(&text);
    }

    #[test]
    fn the_fixed_forms_follow_their_schemas(seed: [u8; 32], time: u64, worker: [u8; 20], proof: Vec<u8>, result: Vec<u8>) {
        let bytes = |bytes: &[u8]| Value::Bytes(Bytes::copy_from_slice(bytes));
        let calldata = Calldata { seed: seed.into(), time, worker: worker.into() };
        let value = Value::Struct(vec![
            ("seed".into(), bytes(&seed)),
            ("time".into(), Value::Unsigned(U256::from(time))),
            ("worker_address".into(), bytes(&worker)),
        ]);
        let encoded = calldata.encode();
        prop_assert_eq!(Schema::parse(CALLDATA_SCHEMA).unwrap().encode(&value).unwrap(), encoded.to_vec());
        prop_assert_eq!(Calldata::decode(&encoded), Ok(calldata));

        let v1 = ResultV1 { proof: proof.clone().into(), result: result.clone().into() };
        let value = Value::Struct(vec![("proof".into(), bytes(&proof)), ("result".into(), bytes(&result))]);
        prop_assert_eq!(Schema::parse(RESULT_V1_SCHEMA).unwrap().encode(&value).unwrap(), v1.encode());
        prop_assert_eq!(ResultV1::decode(&v1.encode()), Ok(v1));

        let v2 = ResultV2 { result: result.clone().into() };
        let value = Value::Struct(vec![("result".into(), bytes(&result))]);
        prop_assert_eq!(Schema::parse(RESULT_V2_SCHEMA).unwrap().encode(&value).unwrap(), v2.encode());
        prop_assert_eq!(v2.word()[..result.len().min(32)].to_vec(), result[..result.len().min(32)].to_vec());
        prop_assert!(v2.word()[result.len().min(32)..].iter().all(|byte| *byte == 0));
        prop_assert_eq!(ResultV2::decode(&v2.encode()), Ok(v2));
    }
}

#[test]
fn numbers_must_fit() {
    for (schema, number, fits) in
        [("u8", 255u64, true), ("u8", 256, false), ("u16", 65535, true), ("u16", 65536, false), ("u64", u64::MAX, true)]
    {
        let schema = Schema::parse(schema).unwrap();
        assert_eq!(schema.encode(&Value::Unsigned(U256::from(number))).is_ok(), fits, "{schema} {number}");
    }
    for (schema, number, fits) in
        [("i8", 127i64, true), ("i8", 128, false), ("i8", -128, true), ("i8", -129, false), ("i64", i64::MIN, true)]
    {
        let schema = Schema::parse(schema).unwrap();
        let value = Value::Signed(I256::try_from(number).unwrap());
        assert_eq!(schema.encode(&value).is_ok(), fits, "{schema} {number}");
    }
    let widest = Schema::parse("i256").unwrap();
    for number in [I256::MIN, I256::MAX, I256::ZERO, I256::MINUS_ONE] {
        let encoded = widest.encode(&Value::Signed(number)).unwrap();
        assert_eq!(widest.decode(&encoded), Ok(Value::Signed(number)));
    }
}

#[test]
fn types_must_agree() {
    let text = Value::String("x".into());
    for schema in ["u8", "bool", "bytes", "[u8]", "{a:u8}", "[string;1]"] {
        assert!(matches!(Schema::parse(schema).unwrap().encode(&text), Err(CodecError::Mismatch { .. })), "{schema}");
    }
    let wrong_name = Value::Struct(vec![("b".into(), Value::Bool(true))]);
    assert!(Schema::parse("{a:bool}").unwrap().encode(&wrong_name).is_err());
    let two = Value::Bytes(vec![1, 2].into());
    assert!(Schema::parse("[u8;3]").unwrap().encode(&two).is_err());
    assert_eq!(Schema::parse("[u8;2]").unwrap().encode(&two), Ok(vec![1, 2]));
}

#[test]
fn faults_of_a_schema_name_their_place() {
    for (text, at) in [("", 0), ("u7", 0), ("[u8", 3), ("{a:u8,}", 6), ("{a}", 2), ("u8 x", 3), ("[u8;x]", 5), ("{a:u8,b:q1}", 8)]
    {
        assert_eq!(Schema::parse(text).unwrap_err().at, at, "{text}");
    }
    assert!(Schema::parse(&format!("{}u8{}", "[".repeat(31), "]".repeat(31))).is_ok());
    assert!(Schema::parse(&format!("{}u8{}", "[".repeat(32), "]".repeat(32))).is_err());
    assert!(Schema::parse(&"[".repeat(100_000)).is_err());
    assert!(Schema::parse_pair("{a:u8}/{b:u8}").is_ok());
    assert!(Schema::parse_pair("{a:u8}").is_err());
}

#[test]
fn claimed_lengths_are_compared_with_what_is_there() {
    let huge = [0xff; 8];
    for schema in ["[u8]", "[u256]", "bytes", "string", "[[u8]]", "[u8;4294967295]", "[[[u8;4294967295];4294967295];9]"] {
        assert!(Schema::parse(schema).unwrap().decode(&huge).is_err(), "{schema}");
    }
    // Items without bytes are no items.
    for schema in ["[{}]", "[u8;0]", "[{a:{}};3]"] {
        assert!(Schema::parse(schema).is_err(), "{schema}");
    }
    assert_eq!(Schema::parse("{}").unwrap().decode(&[]), Ok(Value::Struct(vec![])));
}

#[test]
fn the_contract_reads_from_front_to_back() {
    let good = Calldata { seed: B256::repeat_byte(1), time: 5, worker: Address::repeat_byte(2) }.encode();
    assert_eq!(Calldata::decode(&[&good[..], &[0]].concat()), Err(Refusal::Revert(reason::OBI_NOT_FINISHED)));
    for length in 0..good.len() {
        assert_eq!(Calldata::decode(&good[..length]), Err(Refusal::Revert(reason::OBI_RANGE)), "{length}");
    }
    // A wrong size of the seed is noticed before the missing rest.
    assert_eq!(Calldata::decode(&[0, 0, 0, 1, 7]), Err(Refusal::Revert(reason::OBI_BYTES32)));
    let mut wrong_worker = good.to_vec();
    wrong_worker[47] = 19;
    assert_eq!(Calldata::decode(&wrong_worker), Err(Refusal::Revert(reason::OBI_ADDRESS)));
}
