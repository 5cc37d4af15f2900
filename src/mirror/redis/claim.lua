-- Becomes the owner of a room and reads it.
--
-- ARGV: expected ("1"/"0"), expected epoch, expected owner or "", claimant, last seen epoch, TTL in
-- ms, format
local refusal, epoch = check_claim(ARGV[1], ARGV[2], ARGV[3], ARGV[5], ARGV[7])
if refusal then return refusal end

redis.call('HSET', KEYS[1], 'owner', ARGV[4], 'epoch', epoch)
-- A room that the mirror did not know: the first commit brings the rest, from version 0.
redis.call('HSETNX', KEYS[1], 'version', '0')
redis.call('HSETNX', KEYS[1], 'format', ARGV[7])
touch(ARGV[6])

return {
  'claimed', epoch,
  redis.call('HGETALL', KEYS[1]),
  redis.call('HGETALL', KEYS[2]),
  redis.call('HGETALL', KEYS[3]),
  redis.call('HGETALL', KEYS[4]),
  redis.call('HGETALL', KEYS[5]),
  redis.call('LRANGE', KEYS[6], 0, -1),
}
