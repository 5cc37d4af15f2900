-- Reads one outbox entry and, in the same step, which session the room has live. A hint without an
-- entry may be removed only if that session's close cannot still arrive.
--
-- KEYS 1: room:{id}, 2: the outbox entry
return { redis.call('GET', KEYS[2]), redis.call('HGET', KEYS[1], 'sessionId') }
