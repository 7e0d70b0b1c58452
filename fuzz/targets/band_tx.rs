//! Transactions of BandChain, and the texts around them: addresses, prices, logs.

#![no_main]

use libfuzzer_sys::fuzz_target;
use windlass_vrf_protocol::events::request_ids;
use windlass_vrf_protocol::tx::{BandAddress, RequestDataMsg, decode, fee};

fuzz_target!(|data: &[u8]| {
    if let Ok(transaction) = decode(data) {
        let _ = transaction.verify("bandchain-sim", 7);
        let address = transaction.sender();
        assert_eq!(BandAddress::parse(&address.to_string()), Ok(address));
        for (place, request) in &transaction.requests {
            assert!(*place < transaction.messages.len());
            let again = RequestDataMsg::from_any(&request.to_any());
            assert_eq!(again.map(|again| again.to_any()), Some(request.to_any()));
        }
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = request_ids(&[], text);
        if let Ok(address) = BandAddress::parse(text) {
            assert_eq!(BandAddress::parse(&address.to_string()), Ok(address));
        }
        if let (Ok(less), Ok(more)) = (fee(800_000, text), fee(800_001, text)) {
            assert!(less <= more);
        }
    }
});
