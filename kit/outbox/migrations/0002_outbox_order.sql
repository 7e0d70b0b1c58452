-- Intents in the order of recording, whatever their state: lists of the newest, and the last position given out.
CREATE INDEX outbox_intents_by_position ON outbox_intents (chain_id, account, position);
