//! Properties of the configuration: no text makes it panic, and what is shown can be read again.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use alloy_primitives::U256;
use proptest::prelude::*;
use windlass_node::config::{Amount, Schema, Sources};

proptest! {
    #[test]
    fn no_file_makes_it_panic(text in "(?s)(\\[(node|http|log|chain\\.a|alerts\\.b|[a-z.]{1,8})\\]\n([a-z_]{1,12} = (\"[^\"\\\\\n]{0,12}\"|-?[0-9]{1,19}|true|\\[[0-9, \"a]{0,6}\\])\n){0,3}){0,4}.{0,20}") {
        if let Err(errors) = Schema::new().load(&Sources::text("w.toml", &text)) {
            prop_assert!(!errors.0.is_empty());
            prop_assert!(!errors.to_string().is_empty());
        }
    }

    #[test]
    fn no_flag_or_variable_makes_it_panic(flag in "\\PC{0,30}", name in "WINDLASS_[A-Z_]{0,24}", value in "\\PC{0,20}") {
        let sources = Sources { environment: vec![(name, value)], overrides: vec![flag], ..Sources::default() };
        let _ = Schema::new().load(&sources).map_err(|errors| errors.to_string());
    }

    #[test]
    fn an_amount_prints_as_it_is_read(wei in any::<u128>()) {
        let amount = Amount(U256::from(wei));
        prop_assert_eq!(Amount::parse(&amount.to_string()), Ok(amount));
    }

    #[test]
    fn no_amount_makes_it_panic(text in "\\PC{0,40}") {
        let _ = Amount::parse(&text);
    }
}
