-- What the gateway has to know about a request's body, read by a strict JSON parser.
--
-- HAProxy's own json_query finds a number only where it looks like one: 1e4, a key written with \u escapes, a
-- second max_tokens or UTF-16 walk past it, while the engine (Python's json, pydantic) takes all of them. So the
-- body is parsed here as strictly as RFC 8259 allows; what the engine might read differently is refused.
-- HAProxy 2.6 cannot add a number to a stick table's counter either: tokens per minute are kept here, one bucket a key.

local DEPTH_MAX = 64

local refuse = {}  -- marks errors of ours: {refuse, code, message}

local function fail(code, message)
  error({refuse, code, message}, 0)
end

local function bad_json(position, what)
  fail("invalid_json", string.format("The body is no valid JSON: %s at byte %d.", what, position))
end

local ESCAPES = {['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t"}

-- The code point of the \u escape at `position`, and the position after it. Half a surrogate pair is no character: an
-- engine cannot encode it, nor the error that quotes it, and answers 500.
local function read_escape(text, position)
  local digits, after = text:match("^\\u(%x%x%x%x)", position), position + 6
  if not digits then bad_json(position, "a broken \\u escape") end
  local code = tonumber(digits, 16)
  if code < 0xD800 or code > 0xDFFF then return code, after end
  local low = code < 0xDC00 and text:match("^\\u([dD][c-fC-F]%x%x)", after)
  if not low then bad_json(position, "half a surrogate pair") end
  return 0x10000 + (code - 0xD800) * 0x400 + tonumber(low, 16) - 0xDC00, after + 6
end

-- A string that starts at the quote at `position`: its value (decoded only if `wanted`) and the position after it.
local function read_string(text, position, wanted)
  local start, parts = position + 1, wanted and {} or nil
  while true do
    local stop = text:find('["\\%c]', start)
    if not stop then bad_json(position, "a string without an end") end
    if parts then parts[#parts + 1] = text:sub(start, stop - 1) end
    local found = text:sub(stop, stop)
    if found == '"' then
      return parts and table.concat(parts), stop + 1
    elseif found ~= "\\" then
      if found == "\127" then  -- DEL is no control character for JSON
        if parts then parts[#parts + 1] = found end
        start = stop + 1
      else
        bad_json(stop, "a control character in a string")
      end
    else
      local escape = text:sub(stop + 1, stop + 1)
      if escape == "u" then
        local code
        code, start = read_escape(text, stop)
        if parts then parts[#parts + 1] = utf8.char(code) end
      elseif ESCAPES[escape] then
        if parts then parts[#parts + 1] = ESCAPES[escape] end
        start = stop + 2
      else
        bad_json(stop, "an unknown escape")
      end
    end
  end
end

local function skip_blanks(text, position)
  return text:find("[^ \t\r\n]", position) or #text + 1
end

local LITERALS = {t = "true", f = "false", n = "null"}
local skip_value

-- Calls visit(key or nil, position of the value), which returns the position after the value.
local function read_container(text, position, depth, visit)
  if depth > DEPTH_MAX then
    fail("invalid_json", string.format("The body is nested %d levels deep or deeper: at most %d are read.", depth, DEPTH_MAX))
  end
  local object = text:sub(position, position) == "{"
  local closing, seen = object and "}" or "]", {}
  position = skip_blanks(text, position + 1)
  if text:sub(position, position) == closing then return position + 1 end
  while true do
    local key
    if object then
      if text:sub(position, position) ~= '"' then bad_json(position, "no key") end
      key, position = read_string(text, position, true)
      if seen[key] then
        fail("duplicate_key", string.format("The key %q stands twice in one object: which one counts?", key:sub(1, 40)))
      end
      seen[key] = true
      position = skip_blanks(text, position)
      if text:sub(position, position) ~= ":" then bad_json(position, "no colon") end
      position = skip_blanks(text, position + 1)
    end
    position = skip_blanks(text, visit(key, position))
    local found = text:sub(position, position)
    if found == closing then return position + 1 end
    if found ~= "," then bad_json(position, "no comma") end
    position = skip_blanks(text, position + 1)
  end
end

local function number_end(text, position)
  local stop = select(2, text:find("^%-?[1-9]%d*", position)) or select(2, text:find("^%-?0", position))
  if not stop then return nil end
  stop = select(2, text:find("^%.%d+", stop + 1)) or stop
  return select(2, text:find("^[eE][+-]?%d+", stop + 1)) or stop
end

-- The position after the value at `position`.
skip_value = function(text, position, depth)
  local first = text:sub(position, position)
  if first == '"' then return select(2, read_string(text, position, false)) end
  if first == "{" or first == "[" then
    return read_container(text, position, depth, function(_, at) return skip_value(text, at, depth + 1) end)
  end
  local literal = LITERALS[first]
  if literal then
    if text:sub(position, position + #literal - 1) ~= literal then bad_json(position, "an unknown word") end
    return position + #literal
  end
  local stop = number_end(text, position)
  if not stop then bad_json(position, "no value") end
  if math.abs(tonumber(text:sub(position, stop))) == math.huge then  -- the engine's NaN and Infinity by another name
    bad_json(position, "a number too large to be one")
  end
  return stop + 1
end

-- The top level of the body: key -> the value's source text. Nothing below it is kept.
local function read_body(text)
  -- Lua 5.3 takes surrogates in three bytes for characters, and so does the engine's json.loads.
  if not utf8.len(text) or text:find("\xED[\xA0-\xBF]") then fail("invalid_json", "The body is not UTF-8.") end
  local position, fields = skip_blanks(text, 1), {}
  if text:sub(position, position) ~= "{" then fail("invalid_json", "The body is no JSON object.") end
  position = read_container(text, position, 1, function(key, at)
    local after = skip_value(text, at, 2)
    fields[key] = text:sub(at, after - 1)
    return after
  end)
  if skip_blanks(text, position) <= #text then bad_json(position, "something after the end") end
  return fields
end

-- A whole number in plain digits, or nil where the field is absent or null. `cap` is what is said to be allowed.
local function whole_number(fields, name, cap)
  local text = fields[name]
  if text == nil or text == "null" then return nil end
  if not text:find("^%d+$") or #text > 12 then
    local value = #text > 40 and text:sub(1, 40):gsub("[\128-\255]", "?") .. "…" or text
    fail("invalid_" .. name, string.format("%s is %s: it must be a whole number in plain digits (no fraction, exponent, "
      .. "sign or quotes), at most %d.", name, value, cap))
  end
  return math.tointeger(tonumber(text))
end

local function boolean(fields, name)
  local text = fields[name]
  if text == nil or text == "null" or text == "false" then return false end
  if text ~= "true" then fail("invalid_" .. name, name .. " must be true or false.") end
  return true
end

-- How many prompts a completions request holds: a list of strings or of token lists is one request each.
local function prompts(fields)
  local text = fields["prompt"]
  if not text or text:sub(1, 1) ~= "[" then return 1 end
  local count, tokens = 0, true
  read_container(text, 1, 2, function(_, at)
    local first = text:sub(at, at)
    count, tokens = count + 1, tokens and first ~= '"' and first ~= "["
    return skip_value(text, at, 3)
  end)
  return tokens and 1 or count
end

-- What vLLM reads for an endpoint, and nothing that it ignores there: the fields that limit an answer, the one that
-- counts first, and how many prompts there are. (`best_of` is a field of neither.)
local ENDPOINTS = {
  chat = {limits = {"max_completion_tokens", "max_tokens"}, prompts = function() return 1 end},
  completions = {limits = {"max_tokens"}, prompts = prompts},
}

-- The most tokens that the request can make the engine generate; refuses what exceeds `cap`.
-- Without a limit the engine decides (its own default and --max-model-len): it is charged as the whole cap.
local function asked_tokens(fields, endpoint, cap)
  local name, asked
  for _, limit in ipairs(endpoint.limits) do
    name, asked = limit, whole_number(fields, limit, cap)
    if asked then break end
  end
  if asked and asked > cap then
    fail("max_tokens_too_large", string.format("%s is %d: at most %d are allowed here.", name, asked, cap))
  end
  local copies = math.max(whole_number(fields, "n", cap) or 1, 1) * endpoint.prompts(fields)
  if copies > 1 and not asked then
    fail("max_tokens_missing", string.format("A request for %d answers must say %s: at most %d tokens are "
      .. "allowed in one request.", copies, name, cap))
  end
  asked = math.max(asked or cap, 1)  -- for a limit of 0 the engine makes one token, or refuses
  if asked * copies > cap then
    fail("max_tokens_too_large", string.format("%d answers of up to %d tokens each: at most %d tokens are allowed "
      .. "in one request.", copies, asked, cap))
  end
  return asked * copies
end

local function now_ms()
  local now = core.now()
  return now.sec * 1000 + now.usec / 1000
end

-- key id -> {level = tokens used, at_s = when that was right}. As many entries as there are keys.
local buckets = {}

-- Takes `tokens` from the key's bucket, which holds one minute's worth and refills steadily. False if they are not there.
local function charge(key_id, tokens, per_minute)
  local now_s = now_ms() / 1000
  local bucket = buckets[key_id] or {level = 0, at_s = now_s}
  local level = math.max(0, bucket.level - (now_s - bucket.at_s) * per_minute / 60)
  local fits = level + tokens <= per_minute
  buckets[key_id] = {level = fits and level + tokens or level, at_s = now_s}
  return fits
end

local function check(txn, endpoint, cap, per_minute)
  local fields = read_body(txn.f:req_body() or "")
  local tokens = asked_tokens(fields, ENDPOINTS[endpoint], cap)
  txn:set_var("txn.stream", boolean(fields, "stream") and 1 or 0)
  txn:set_var("txn.asked_tokens", tokens)
  local key_id = txn:get_var("txn.key_id")
  if key_id ~= "operator" and not charge(key_id, tokens, per_minute) then
    txn:set_var("txn.refusal", 429)
    txn:set_var("txn.refusal_message", string.format("This API key has used its %d tokens per minute; this request "
      .. "asks for up to %d. Wait for the time in Retry-After, or ask for fewer.", per_minute, tokens))
  end
end

-- http-request lua.check_body ENDPOINT CAP TOKENS_PER_MINUTE: sets txn.stream, txn.asked_tokens, or txn.refusal (the status),
-- txn.refusal_code and txn.refusal_message.
core.register_action("check_body", {"http-req"}, function(txn, endpoint, cap, per_minute)
  local fine, problem = pcall(check, txn, endpoint, tonumber(cap), tonumber(per_minute))
  if fine then return end
  local ours = type(problem) == "table" and problem[1] == refuse
  if not ours then core.Alert("guard.lua: " .. tostring(problem)) end
  txn:set_var("txn.refusal", 400)
  txn:set_var("txn.refusal_code", ours and problem[2] or "unreadable_body")
  txn:set_var("txn.refusal_message", ours and problem[3] or "The body could not be checked.")
end, 3)

-- http-request lua.want_model: sets txn.model_id, the last part of the path, percent-decoded.
core.register_action("want_model", {"http-req"}, function(txn)
  local id = txn.f:path():sub(#"/v1/models/" + 1)
  txn:set_var("txn.model_id", (id:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end)))
end)

-- The entry of a list of models whose id is `wanted`, verbatim; nil without one.
local function card_of(text, wanted)
  local list, found = read_body(text)["data"], nil
  if not list or list:sub(1, 1) ~= "[" then fail("unreadable_models", "There is no list of models.") end
  read_container(list, 1, 2, function(_, at)
    local after = skip_value(list, at, 3)
    local card = list:sub(at, after - 1)
    local id = card:sub(1, 1) == "{" and read_body(card)["id"]
    if id and id:sub(1, 1) == '"' and (read_string(id, 1, true)) == wanted then found = found or card end
    return after
  end)
  return found
end

-- http-response lua.pick_model: sets txn.model_card, or the reason in txn.pick (none, unreadable).
core.register_action("pick_model", {"http-res"}, function(txn)
  local fine, card = pcall(card_of, txn:get_var("txn.models") or "", txn:get_var("txn.model_id"))
  if fine and card then
    txn:set_var("txn.model_card", card)
  else
    txn:set_var("txn.pick", fine and "none" or "unreadable")
  end
end)

-- The request id: the client's own where it is fit for logs and JSON, else a new one.
core.register_fetches("request_id", function(txn)
  local given = txn.f:req_hdr("x-request-id")
  if given and #given <= 64 and given:find("^[%w._:-]+$") then return given end
  return txn.f:uuid()
end)

-- Not with HAProxy's date(): its wall clock and the clock of its timers, which core.now() reads, drift apart under load.
core.register_action("begin", {"http-req"}, function(txn, first_byte_timeout_ms)
  txn:set_var("txn.begun_ms", math.floor(now_ms()))
  txn:set_var("txn.first_byte_timeout_ms", tonumber(first_byte_timeout_ms))
end, 1)

-- Whether the gateway has waited for the first-byte time-out (less a tick): sets a dropped connection apart from silence.
local function waited_too_long(txn)
  local begun_ms, limit_ms = txn:get_var("txn.begun_ms"), txn:get_var("txn.first_byte_timeout_ms")
  if not begun_ms or not limit_ms then return false end
  return now_ms() - begun_ms >= 0.9 * limit_ms
end

-- What goes wrong behind the gateway, in words: error code and message of a 502 (which becomes a 504 when late).
core.register_fetches("upstream_failure_code", function(txn)
  return waited_too_long(txn) and "upstream_timeout" or "upstream_failed"
end)

core.register_fetches("upstream_failure_message", function(txn)
  if waited_too_long(txn) then
    return "No replica answered in time. Try again after the time in Retry-After."
  end
  return "The replica closed the connection before it answered. Try again after the time in Retry-After."
end)

core.register_fetches("upstream_late", function(txn) return waited_too_long(txn) and 1 or 0 end)

-- The circuit breaker: failures in a row of each replica, as its link sees them.
local failures = {}

core.register_action("link_answered", {"tcp-res"}, function(_, replica) failures[replica] = 0 end, 1)

local function take_out_at(replica, limit)
  if failures[replica] < tonumber(limit) then return end
  failures[replica] = 0
  core.Warning(string.format("%s failed %s times in a row: ejected until its checks succeed", replica, limit))
  core.backends["replicas"].servers[replica]:check_force_down()
end

local function is_last(replica)
  for name, server in pairs(core.backends["replicas"].servers) do
    if name ~= replica and server:get_stats().status:find("^UP") then return false end
  end
  return true
end

-- Nothing came: late, or hung up.
core.register_action("link_failed", {"tcp-res"}, function(txn, replica, limit)
  if not txn.req:may_recv() then return end  -- it was the client who left
  failures[replica] = (failures[replica] or 0) + 1
  take_out_at(replica, limit)
end, 2)

-- An error came. It may be the request's fault: whoever finds one that does this must not be able to take out every
-- replica, so the last one stays.
core.register_action("link_erred", {"tcp-res"}, function(_, replica, limit)
  failures[replica] = (failures[replica] or 0) + 1
  if not is_last(replica) then take_out_at(replica, limit) end
end, 2)

-- Time in the queue: from the last rule to the first link. HAProxy's own %Tw counts earlier attempts as queueing.
local waits, tickets = {}, 0

core.register_action("enter_queue", {"http-req"}, function(txn)
  tickets = tickets + 1
  waits[tickets] = {since_ms = now_ms()}
  txn:set_var("txn.ticket", tickets)
end)

-- Reads the header X-Drillyard-Link: sets txn.kind, which says how long the link waits; health checks have none.
core.register_action("link_reached", {"tcp-req"}, function(txn)
  local head = txn.f:req_payload(0, 0):match("^.-\r\n\r\n"):lower()
  local kind, ticket = head:match("\r\nx%-drillyard%-link: ([%a-]+) (%d+)\r\n")
  txn:set_var("txn.kind", kind or "check")
  local wait = waits[tonumber(ticket)]
  if wait and not wait.queue_ms then wait.queue_ms = now_ms() - wait.since_ms end
end)

-- For the log, once a request: ms in the queue, -1 where it never got so far.
core.register_fetches("queue_ms", function(txn)
  local ticket = txn:get_var("txn.ticket")
  local wait = ticket and waits[ticket]
  if not wait then return -1 end
  waits[ticket] = nil
  return math.floor(wait.queue_ms or now_ms() - wait.since_ms)
end)

-- An answer to what is no HTTP request, or not yet one: no rule of the service ever sees it.
local function refusal(id, status, type, code, message)
  local body = string.format('{"error": {"type": "%s", "code": "%s", "message": "%s", "request_id": "%s"}}',
    type, code, message, id)
  return string.format("HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
    .. "Connection: close\r\nX-Request-Id: %s\r\nX-Drillyard-Gateway: %s\r\n\r\n%s",
    status, #body, id, os.getenv("DRILLYARD_GATEWAY"), body)
end

local REFUSALS = {
  bad_request = {"400 Bad Request", "invalid_request_error", "bad_request",
    "This is no valid HTTP request: check its first line, its headers and its Content-Length."},
  length_required = {"411 Length Required", "invalid_request_error", "length_required",
    "Send the body with one Content-Length header, not chunked: at most " .. os.getenv("DRILLYARD_BODY_BYTES_MAX")
      .. " bytes are taken, and they are counted before they are read."},
  request_timeout = {"408 Request Timeout", "timeout_error", "request_timeout",
    "The request did not arrive completely in time. Send it again."},
}

for name, answer in pairs(REFUSALS) do
  core.register_service(name, "tcp", function(applet) applet:send(refusal(applet.f:uuid(), table.unpack(answer))) end)
end
