-- Leaves a room without an owner: a drain that found no successor. The epoch stays, so that the
-- next claim is above it.
--
-- ARGV: epoch, owner, TTL in ms
local epoch, owner, ttl_ms = ARGV[1], ARGV[2], ARGV[3]

local stored = stored_room()
if not stored then return { 'missing' } end
if tonumber(stored.epoch) < tonumber(epoch) then return { 'behind' } end
if tonumber(stored.epoch) > tonumber(epoch) or (stored.owner ~= owner and stored.owner ~= '') then
  return { 'fenced', stored.epoch, stored.owner }
end

redis.call('HDEL', KEYS[1], 'owner')
touch(ttl_ms)
return { 'ok' }
