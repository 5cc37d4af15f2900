-- Writes a full snapshot under a new epoch, if the ownership is still the expected one.
--
-- ARGV: expected ("1"/"0"), expected epoch, expected owner or "", claimant, last seen epoch, TTL in
-- ms, format, to, seq, tail_keep, closing ("1"/"0"), session JSON or "", lists…
local ttl_ms, to, seq, tail_keep = ARGV[6], ARGV[8], ARGV[9], ARGV[10]
local is_closing, session_json = ARGV[11] == '1', ARGV[12]

-- A repeat of a close whose answer was lost.
if session_json ~= '' and redis.call('EXISTS', KEYS[7]) == 1 then
  return { 'claimed', ARGV[5] }
end

local refusal, epoch = check_claim(ARGV[1], ARGV[2], ARGV[3], ARGV[5], ARGV[7])
if refusal then return refusal end

if is_closing then
  close_room(session_json)
else
  redis.call('HSET', KEYS[1], 'owner', ARGV[4], 'epoch', epoch, 'format', ARGV[7])
  write_room(13, true, tail_keep, to, seq)
  touch(ttl_ms)
end
return { 'claimed', epoch }
