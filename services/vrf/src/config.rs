//! The section `[vrf.<name>]`: one provider contract and the account that relays to it.
