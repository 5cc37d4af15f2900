-- Applies the changes of one room under its epoch and version chain.
--
-- ARGV: epoch, owner, from, to, seq, TTL in ms, full ("1"/"0"), tail_keep, closing ("1"/"0"),
-- session JSON or "", lists…
local epoch, owner, from, to, seq = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local ttl_ms, is_full, tail_keep = ARGV[6], ARGV[7] == '1', ARGV[8]
local is_closing, session_json = ARGV[9] == '1', ARGV[10]

-- A repeat of a close whose answer was lost. Written again, so that WAIT has something to wait for.
if session_json ~= '' and redis.call('EXISTS', KEYS[7]) == 1 then
  redis.call('SET', KEYS[7], session_json)
  return { 'ok' }
end

local stored = stored_room()
if not stored then
  -- A close without a session leaves no trace, so a repeat of it finds nothing.
  if is_closing and session_json == '' then return { 'ok' } end
  return { 'missing' }
end

-- Nearly always it is the next commit of the owner, and numbers are written in one way only.
if stored.epoch ~= epoch or stored.owner ~= owner or stored.version ~= from then
  if tonumber(stored.epoch) < tonumber(epoch) then return { 'behind' } end
  local version = tonumber(stored.version)
  -- The same epoch under another name: Redis forgot a claim, the one it remembers wins. A version
  -- beyond `to` holds acknowledged changes which this writer does not know. Either way the writer
  -- must stop.
  if tonumber(stored.epoch) > tonumber(epoch) or stored.owner ~= owner
    or version > math.max(tonumber(from), tonumber(to)) then
    return { 'fenced', stored.epoch, stored.owner }
  end
  if version ~= tonumber(from) then
    if version ~= tonumber(to) then return { 'behind' } end
    -- Touched again: a write, so that WAIT has something to wait for.
    touch(ttl_ms)
    return { 'ok' }
  end
end

if is_closing then
  close_room(session_json)
else
  local made = write_room(11, is_full, tail_keep, to, seq)
  if is_full then touch(ttl_ms) else touch_made(ttl_ms, made) end
end
return { 'ok' }
