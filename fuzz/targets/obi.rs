//! OBI: schema texts, and bytes of a schema. The input is a schema, a zero byte and the bytes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use windlass_vrf_protocol::obi::{Calldata, ResultV1, ResultV2, Schema};

fuzz_target!(|data: &[u8]| {
    let (schema, bytes) = match data.iter().position(|byte| *byte == 0) {
        Some(place) => (&data[..place], &data[place + 1..]),
        None => (data, data),
    };
    if let Ok(calldata) = Calldata::decode(bytes) {
        assert_eq!(calldata.encode(), bytes);
    }
    if let Ok(result) = ResultV1::decode(bytes) {
        assert_eq!(result.encode(), bytes);
    }
    if let Ok(result) = ResultV2::decode(bytes) {
        assert_eq!(result.encode(), bytes);
        let _ = result.word();
    }
    let Some(schema) = std::str::from_utf8(schema).ok().and_then(|text| Schema::parse(text).ok()) else {
        return;
    };
    assert_eq!(Schema::parse(&schema.to_string()).as_ref(), Ok(&schema));
    if let Ok(value) = schema.decode(bytes) {
        let encoded = schema.encode(&value);
        // A true boolean may be any byte but zero, so the bytes need not be the same, but the value is.
        assert_eq!(encoded.map(|encoded| schema.decode(&encoded)), Ok(Ok(value)));
    }
});
