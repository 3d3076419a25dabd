-- Confundo for Wireshark and tshark: the classic and the extended edition (docs/protocol.md).
--
--   tshark -X lua_script:docs/confundo.lua -r trace.pcap
--   tshark -X lua_script:docs/confundo.lua -d udp.port==6000,confundo_transport -r trace.pcap
--
-- Port 5000 is taken for Confundo. The courses' own dissectors are called "confundo": this one has another name, so that
-- both can be loaded. Its fields begin with "confundo." all the same.

local confundo = Proto("confundo_transport", "Confundo transport protocol")

local EXTENDED, HELLO, PROBE, PROBE_ANSWER = 0x8000, 0x4000, 0x2000, 0x1000
local RESET, PING, DATA, ACK, SYN, FIN = 0x0800, 0x0400, 0x0200, 0x0004, 0x0002, 0x0001
local PARAMETERS = 0x0100
local OFFER_MASK, OFFER = 0xff80, 0xa580

local RESET_CODES = { [0] = "unknown", [1] = "aborted", [2] = "unread", [3] = "silent", [4] = "restarted", [5] = "path-mtu", [6] = "refused", [7] = "version" }
local STATELESS_RESET = 4

local f = {
  summary = ProtoField.string("confundo.summary", "Summary"),
  edition = ProtoField.string("confundo.edition", "Edition"),
  seq = ProtoField.uint32("confundo.seq", "Sequence number"),
  ack = ProtoField.uint32("confundo.ack", "Acknowledgement number"),
  tag = ProtoField.uint32("confundo.tag", "Tag of the receiver", base.HEX),
  id = ProtoField.uint16("confundo.id", "Connection ID"),
  bits = ProtoField.uint16("confundo.bits", "Flags and parts", base.HEX),
  version = ProtoField.uint16("confundo.version", "Extended edition, version", base.DEC, nil, 0x0078),
  a = ProtoField.bool("confundo.flags.ack", "ACK", 16, nil, ACK),
  s = ProtoField.bool("confundo.flags.syn", "SYN", 16, nil, SYN),
  fin = ProtoField.bool("confundo.flags.fin", "FIN", 16, nil, FIN),
  hello_bit = ProtoField.bool("confundo.flags.hello", "HELLO", 16, nil, HELLO),
  probe_bit = ProtoField.bool("confundo.flags.probe", "PROBE", 16, nil, PROBE),
  answer_bit = ProtoField.bool("confundo.flags.probe_answer", "PROBE_ANSWER", 16, nil, PROBE_ANSWER),
  reset_bit = ProtoField.bool("confundo.flags.reset", "RESET", 16, nil, RESET),
  ping_bit = ProtoField.bool("confundo.flags.ping", "PING", 16, nil, PING),
  parameters_bit = ProtoField.bool("confundo.flags.parameters", "PARAMETERS", 16, nil, PARAMETERS),
  data_bit = ProtoField.bool("confundo.flags.data", "DATA", 16, nil, DATA),
  length = ProtoField.uint16("confundo.length", "Length"),
  hello = ProtoField.uint32("confundo.hello", "Tag of the client", base.HEX),
  hello_nonce = ProtoField.uint32("confundo.hello.nonce", "Nonce of the SYN", base.HEX),
  hello_proof = ProtoField.uint16("confundo.hello.proof", "Last word of the SYN|ACK", base.HEX),
  window = ProtoField.uint32("confundo.window", "Receive window"),
  echo = ProtoField.uint32("confundo.echo", "Echoed time (us)"),
  delay = ProtoField.uint16("confundo.delay", "Held back (8 us)"),
  blocks = ProtoField.uint8("confundo.blocks", "Blocks"),
  duplicate = ProtoField.bool("confundo.duplicate", "First block is a duplicate", 8, nil, 1),
  block_start = ProtoField.uint32("confundo.block.start", "Block from"),
  block_end = ProtoField.uint32("confundo.block.end", "Block up to"),
  nonce = ProtoField.uint64("confundo.nonce", "Nonce", base.HEX),
  probe_length = ProtoField.uint16("confundo.probe_length", "Length of the probe"),
  padding = ProtoField.uint16("confundo.padding", "Bytes of padding"),
  code = ProtoField.uint16("confundo.reset", "Reset code", base.DEC, RESET_CODES),
  silence = ProtoField.uint32("confundo.silence_timeout", "Silence timeout (ms)"),
  token = ProtoField.bytes("confundo.reset_token", "Stateless reset token"),
  parameter = ProtoField.bytes("confundo.parameter", "Unknown parameter"),
  time = ProtoField.uint32("confundo.time", "Time (us)"),
  data = ProtoField.bytes("confundo.data", "Data"),
  data_length = ProtoField.uint32("confundo.data_length", "Bytes of data"),
}
local fields = {}
for _, field in pairs(f) do
  fields[#fields + 1] = field
end
confundo.fields = fields

local malformed = ProtoExpert.new("confundo.malformed", "Not a valid packet", expert.group.MALFORMED, expert.severity.ERROR)
confundo.experts = { malformed }

local function has(bits, bit)
  return math.floor(bits / bit) % 2 == 1
end

local function is_offer(bits)
  -- Nine bits and the version 2; SYN must be set.
  return bits - bits % 128 == OFFER and math.floor(bits / 8) % 16 == 2 and has(bits, SYN) and not has(bits, ACK)
end

-- A SYN|ACK that accepts repeats the nonce of the SYN; its unused bits may be anything.
local nonces = {}

local function flow(from, from_port, to, to_port)
  return string.format("%s %d %s %d", tostring(from), from_port, tostring(to), to_port)
end

local function is_acceptance(tvb, pinfo, bits)
  if not (has(bits, SYN) and has(bits, ACK)) then
    return false
  end
  local known = nonces[flow(pinfo.dst, pinfo.dst_port, pinfo.src, pinfo.src_port)]
  return known ~= nil and known[tvb(4, 4):uint()] == true
end

local function words(bits, extended)
  local names = {}
  local function name(bit, word)
    if has(bits, bit) then
      names[#names + 1] = word
    end
  end
  if extended then
    name(HELLO, "HELLO")
    name(PROBE, "PROBE")
    name(PROBE_ANSWER, "PROBE_ANSWER")
    name(RESET, "RESET")
    name(PING, "PING")
    name(PARAMETERS, "PARAMETERS")
  end
  name(ACK, "ACK")
  name(SYN, "SYN")
  name(FIN, "FIN")
  return table.concat(names, " ")
end

local function add_data(tree, tvb, from, to)
  tree:add(f.data_length, to - from):set_generated()
  if to > from then
    tree:add(f.data, tvb(from, to - from))
  end
end

-- A packet of the classic edition, and the handshake of the extended one.
local function dissect_classic(tvb, pinfo, tree)
  local bits = tvb(10, 2):uint()
  tree:add(f.seq, tvb(0, 4))
  tree:add(f.ack, tvb(4, 4))
  tree:add(f.id, tvb(8, 2))
  local flags = tree:add(f.bits, tvb(10, 2))
  flags:add(f.a, tvb(10, 2))
  flags:add(f.s, tvb(10, 2))
  flags:add(f.fin, tvb(10, 2))
  local offers = is_offer(bits)
  if offers then
    flags:add(f.version, tvb(10, 2))
    local name = flow(pinfo.src, pinfo.src_port, pinfo.dst, pinfo.dst_port)
    nonces[name] = nonces[name] or {}
    nonces[name][tvb(4, 4):uint()] = true
  end
  local accepts = is_acceptance(tvb, pinfo, bits)
  tree:add(f.edition, offers and "offer" or accepts and "accept" or "classic"):set_generated()
  add_data(tree, tvb, 12, tvb:len())
  local numbers = string.format("%d %d id %d", tvb(0, 4):uint(), tvb(4, 4):uint(), tvb(8, 2):uint())
  local offer = (offers or accepts) and " extended" or ""
  return (string.format("%s %s%s len %d", words(bits, false), numbers, offer, tvb:len() - 12):gsub("^ ", ""))
end

local function dissect_ack(tvb, at, to, tree)
  if to - at < 16 or to - at < 16 + 8 * tvb(at + 14, 1):uint() then
    return nil
  end
  tree:add(f.ack, tvb(at, 4))
  tree:add(f.window, tvb(at + 4, 4))
  tree:add(f.echo, tvb(at + 8, 4))
  tree:add(f.delay, tvb(at + 12, 2))
  tree:add(f.blocks, tvb(at + 14, 1))
  tree:add(f.duplicate, tvb(at + 15, 1))
  local count = tvb(at + 14, 1):uint()
  at = at + 16
  for _ = 1, count do
    tree:add(f.block_start, tvb(at, 4))
    tree:add(f.block_end, tvb(at + 4, 4))
    at = at + 8
  end
  return at
end

-- Numbers, lengths and values; what is cut short is left out.
local function dissect_parameters(tvb, at, to, tree)
  while at < to do
    local number = tvb(at, 1):uint()
    if number == 0 then
      at = at + 1
    else
      local length = at + 1 < to and tvb(at + 1, 1):uint() or 0
      local value = at + 2
      if length == 0 or value + length > to then
        return
      end
      if number == 1 and length == 4 then
        tree:add(f.silence, tvb(value, 4))
      elseif number == 2 and length == 16 then
        tree:add(f.token, tvb(value, 16))
      else
        tree:add(f.parameter, tvb(at, 2 + length))
      end
      at = value + length
    end
  end
end

-- The parts of an extended packet. Returns nil where they are not valid, else the bytes of data.
local function dissect_parts(tvb, at, to, bits, tree)
  if has(bits, HELLO) then
    if to - at < 10 then
      return nil
    end
    tree:add(f.hello, tvb(at, 4))
    tree:add(f.hello_nonce, tvb(at + 4, 4))
    tree:add(f.hello_proof, tvb(at + 8, 2))
    at = at + 10
  end
  if has(bits, ACK) then
    at = dissect_ack(tvb, at, to, tree)
    if at == nil then
      return nil
    end
  end
  if has(bits, PROBE) or has(bits, PROBE_ANSWER) then
    local answer = not has(bits, PROBE)
    if has(bits, DATA) or to - at < (answer and 10 or 8) then
      return nil
    end
    tree:add(f.nonce, tvb(at, 8))
    if answer then
      tree:add(f.probe_length, tvb(at + 8, 2))
    else
      tree:add(f.padding, to - at - 8):set_generated()
    end
    if has(bits, PARAMETERS) then
      dissect_parameters(tvb, at + (answer and 10 or 8), to, tree)
    end
    return 0
  end
  if has(bits, RESET) then
    if to - at < 2 then
      return nil
    end
    tree:add(f.code, tvb(at, 2))
    if tvb(at, 2):uint() == STATELESS_RESET and to - at == 18 then
      tree:add(f.token, tvb(at + 2, 16))
    end
    return 0
  end
  if has(bits, DATA) then
    if to - at < 4 then
      return nil
    end
    tree:add(f.time, tvb(at, 4))
    add_data(tree, tvb, at + 4, to)
    return to - at - 4
  end
  if has(bits, PARAMETERS) then
    dissect_parameters(tvb, at, to, tree)
    return 0
  end
  -- Reserved bits may stand for parts of later versions.
  return (at == to or bits % 256 - bits % 8 > 0) and 0 or nil
end

-- One packet of the extended edition. Returns where the next one begins, and a line about this one; nil if it is not valid.
local function dissect_extended(tvb, at, root)
  if tvb:len() - at < 14 then
    return nil
  end
  local bits = tvb(at + 10, 2):uint()
  local length = tvb(at + 12, 2):uint()
  if not has(bits, EXTENDED) or has(bits, SYN) or length < 14 or at + length > tvb:len() then
    return nil
  end
  local tree = root:add(confundo, tvb(at, length), "Packet")
  tree:add(f.edition, "extended"):set_generated()
  tree:add(f.seq, tvb(at, 4))
  tree:add(f.tag, tvb(at + 4, 4))
  tree:add(f.id, tvb(at + 8, 2))
  local flags = tree:add(f.bits, tvb(at + 10, 2))
  for _, field in ipairs({ f.hello_bit, f.probe_bit, f.answer_bit, f.reset_bit, f.ping_bit, f.data_bit, f.parameters_bit, f.a, f.fin }) do
    flags:add(field, tvb(at + 10, 2))
  end
  tree:add(f.length, tvb(at + 12, 2))
  local data = dissect_parts(tvb, at + 14, at + length, bits, tree)
  if data == nil then
    tree:add_proto_expert_info(malformed)
    return nil
  end
  local head = string.format("%s %d", words(bits, true), tvb(at, 4):uint())
  return at + length, (string.format("%s id %d len %d", head, tvb(at + 8, 2):uint(), data):gsub("^ ", ""))
end

function confundo.dissector(tvb, pinfo, root)
  if tvb:len() < 12 then
    return 0
  end
  pinfo.cols.protocol = "Confundo"
  local tree = root:add(confundo, tvb())
  local bits = tvb(10, 2):uint()
  if not has(bits, EXTENDED) or has(bits, SYN) then
    local line = dissect_classic(tvb, pinfo, tree)
    tree:add(f.summary, line):set_generated()
    pinfo.cols.info = line
    return tvb:len()
  end
  local lines = {}
  local at = 0
  while at < tvb:len() do
    local next_at, line = dissect_extended(tvb, at, tree)
    if next_at == nil then
      tree:add_proto_expert_info(malformed)
      lines[#lines + 1] = "[not valid]"
      break
    end
    lines[#lines + 1] = line
    at = next_at
  end
  local all = table.concat(lines, " | ")
  tree:add(f.summary, all):set_generated()
  pinfo.cols.info = all
  return tvb:len()
end

-- A SYN with the offer is unmistakable; what follows between the same ports is taken for its connection.
local function recognize(tvb, pinfo, root)
  if tvb:len() ~= 12 or not is_offer(tvb(10, 2):uint()) then
    return false
  end
  pinfo.conversation = confundo
  confundo.dissector(tvb, pinfo, root)
  return true
end

confundo:register_heuristic("udp", recognize)
local ports = DissectorTable.get("udp.port")
ports:add(5000, confundo)
ports:add_for_decode_as(confundo)
