-- Shared by the scripts that write or read a whole room; put before each of them.
--
-- KEYS 1..6: room:{id}, then its participants, lobby, left, bans and tail; 7: the outbox entry.
-- Numbers travel as strings: Lua would print an epoch as 1.79e+15. All of them stay below 2^53.

-- unpack() fails beyond a few thousand values.
local CHUNK = 1000

-- Ownership and version of the room; nil when the mirror does not know it.
local function stored_room()
  local fields = redis.call('HMGET', KEYS[1], 'epoch', 'owner', 'version', 'format')
  if not fields[1] then return nil end
  return {
    epoch = fields[1],
    owner = fields[2] or '',
    version = fields[3] or '0',
    format = tonumber(fields[4] or '1'),
  }
end

-- Live keys expire when nobody commits. Outbox entries never expire.
local function touch(ttl_ms)
  for index = 1, 6 do redis.call('PEXPIRE', KEYS[index], ttl_ms) end
end

-- The same after a small change: `made` says which keys may be new. The others are touched when a
-- tenth of the TTL is over.
local function touch_made(ttl_ms, made)
  if redis.call('PTTL', KEYS[1]) < tonumber(ttl_ms) * 0.9 then return touch(ttl_ms) end
  for index = 2, 6 do
    if made[index] then redis.call('PEXPIRE', KEYS[index], ttl_ms) end
  end
end

-- Calls a command with the values ARGV[first] to ARGV[last]. Returns the sum of the answers and the
-- last answer.
local function apply_list(command, key, first, last)
  local sum, answer = 0, 0
  for begin = first, last, CHUNK do
    answer = redis.call(command, key, unpack(ARGV, begin, math.min(begin + CHUNK - 1, last)))
    sum = sum + answer
  end
  return sum, answer
end

-- Writes the lists from ARGV[at] on. Each list has a command (HSET, HDEL, or RPUSH for the tail),
-- the index of its key, its length and its values. Keeps the newest of the tail. Then writes
-- version and seq. The participant count is the length of the hash, so it cannot drift. Returns
-- which keys may be new.
local function write_room(at, is_full, tail_keep, version, seq)
  local made, tail_length = {}, nil
  if is_full then redis.call('DEL', unpack(KEYS, 2, 6)) end
  while ARGV[at] do
    local command, index, last = ARGV[at], tonumber(ARGV[at + 1]), at + 2 + tonumber(ARGV[at + 2])
    local sum, answer = apply_list(command, KEYS[index], at + 3, last)
    if command == 'RPUSH' then
      tail_length = answer
      made[index] = answer == last - at - 2
    elseif sum > 0 then
      made[index] = true
    end
    at = last + 1
  end
  if tail_keep == '0' then
    redis.call('DEL', KEYS[6])
  elseif not tail_length or tail_length > tonumber(tail_keep) then
    redis.call('LTRIM', KEYS[6], '-' .. tail_keep, '-1')
  end
  if is_full or made[2] then
    redis.call('HSET', KEYS[1], 'version', version, 'seq', seq,
      'participantCount', redis.call('HLEN', KEYS[2]))
  else
    redis.call('HSET', KEYS[1], 'version', version, 'seq', seq)
  end
  return made
end

-- Closes the room: writes a finished session to the outbox and deletes the room.
local function close_room(session_json)
  if session_json ~= '' then redis.call('SET', KEYS[7], session_json) end
  redis.call('DEL', unpack(KEYS, 1, 6))
end

-- Compare-and-set on the ownership. Returns an error reply and nil, or nil and the new epoch.
local function check_claim(expected, expected_epoch, expected_owner, last_seen, format)
  local stored = stored_room()
  if not stored then
    if expected == '1' then return { 'lost' } end
  else
    if expected ~= '1' or stored.owner ~= expected_owner
      or tonumber(stored.epoch) ~= tonumber(expected_epoch) then
      return { 'lost', stored.epoch, stored.owner }
    end
    if stored.format > tonumber(format) then return { 'toonew' } end
  end
  local highest = math.max(stored and tonumber(stored.epoch) or 0, tonumber(last_seen))
  local time = redis.call('TIME')
  local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
  return nil, string.format('%.0f', math.max(highest + 1, now_us))
end
