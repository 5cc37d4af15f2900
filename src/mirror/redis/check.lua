-- A commit without changes: is the room still as its owner knows it? Returns 'unclear' unless
-- everything matches; then commit.lua decides.
--
-- KEYS 1: room:{id}; ARGV: epoch, owner, version, TTL in ms
local epoch, owner, version, ttl_ms = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])

local stored = redis.call('HMGET', KEYS[1], 'epoch', 'owner', 'version')
if stored[1] ~= epoch or stored[2] ~= owner or stored[3] ~= version then return { 'unclear' } end
-- The room's keys are touched when a tenth of the time is over.
if redis.call('PTTL', KEYS[1]) < ttl_ms * 0.9 then return { 'unclear' } end
-- Written all the same: a replica must refuse, and WAIT needs something to wait for.
redis.call('HSET', KEYS[1], 'version', version)
return { 'ok' }
