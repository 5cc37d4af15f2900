-- Reads one outbox entry and, in the same step, which session the room has live: a hint without an
-- entry may go only
-- when its close is not still to come.
--
-- KEYS 1: room:{id}, 2: the outbox entry
return { redis.call('GET', KEYS[2]), redis.call('HGET', KEYS[1], 'sessionId') }
