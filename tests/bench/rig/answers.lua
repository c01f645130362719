-- What the rig answers by itself, and what it counts: by what came over the wire, whatever the client says of itself.

local counts, objects = ngx.shared.counts, ngx.shared.objects
local VERSION = "3sL4kqtJlcpXroDTDmJ.rmSpXd3dIbrHY"
local CRC64 = "AAAAAAAAAAA="  -- of every object, source or copy: they are compared with each other only
local XML = '<?xml version="1.0" encoding="UTF-8"?>'

function count(name, more) counts:incr(name, more or 1, 0) end

function wait()
  local seconds = tonumber(ngx.var.wait)
  if seconds > 0 then ngx.sleep(seconds) end
end

local function occurrences(text, words)
  local found, at = 0, 1
  while true do
    local begin, stop = string.find(text, words, at, true)
    if not begin then return found end
    found, at = found + 1, stop + 1
  end
end

local function answer(body, content_type)
  ngx.header["Content-Type"] = content_type
  ngx.header["Content-Length"] = #body
  ngx.header["x-amzn-RequestId"] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789ABCDEFG"
  ngx.print(body)
end

function counted()
  for _, name in ipairs(counts:get_keys(0)) do ngx.say(name, " ", counts:get(name)) end
  if ngx.var.arg_reset then counts:flush_all(); objects:flush_all() end
end

-- ---- DynamoDB: the tables of events and users forget everything; all other tables are the emulator's -----------------

local SUCCESS = {
  BatchWriteItem = '{"UnprocessedItems":{}}',
  BatchGetItem = '{"Responses":{},"UnprocessedKeys":{}}',
  Query = '{"Items":[],"Count":0,"ScannedCount":0}',
  DescribeTable = '{"Table":{"TableName":"@PLAIN@","TableStatus":"ACTIVE","KeySchema":[{"AttributeName":"user_id",' ..
    '"KeyType":"HASH"},{"AttributeName":"event_time_ts","KeyType":"RANGE"}],"AttributeDefinitions":[{"AttributeName":' ..
    '"user_id","AttributeType":"S"},{"AttributeName":"event_time_ts","AttributeType":"N"}]}}',
}

function dynamodb()
  ngx.req.read_body()
  local body = ngx.req.get_body_data() or ""
  local operation = string.match(ngx.var.http_x_amz_target or "", "%.(%a+)$") or ""
  wait()
  if string.find(body, '"@IMPORTS@"', 1, true) then
    count("imports_calls")
    return
  end
  count("calls"); count("call_bytes", #body); count(operation)
  if operation == "BatchWriteItem" then
    count("items", occurrences(body, '"PutRequest"'))
  elseif operation == "PutItem" or operation == "UpdateItem" then
    count(string.find(body, '"@USERS@"', 1, true) and "user_records" or "items")
  end
  local said = SUCCESS[operation] or "{}"
  ngx.header["x-amz-crc32"] = ngx.crc32_long(said)
  answer(said, "application/x-amz-json-1.0")
  return ngx.exit(ngx.HTTP_OK)
end

-- ---- Firehose ---------------------------------------------------------------------------------------------------------

local BILLED_BYTES = 5 * 1024  -- Quota: each record is billed rounded up to 5 KB (aws.amazon.com/firehose/pricing)
local said_of = {}

local function taken(records)
  if not said_of[records] then
    local each = {}
    for at = 1, records do each[at] = '{"RecordId":"' .. string.rep("A", 216) .. '"}' end
    said_of[records] = '{"Encrypted":false,"FailedPutCount":0,"RequestResponses":[' .. table.concat(each, ",") .. "]}"
  end
  return said_of[records]
end

function firehose()
  ngx.req.read_body()
  local body = ngx.req.get_body_data() or ""
  local records, at = 0, 1
  while true do
    local _, opened = string.find(body, '"Data"%s*:%s*"', at)
    if not opened then break end
    local closed = string.find(body, '"', opened + 1, true)
    local record = ngx.decode_base64(string.sub(body, opened + 1, closed - 1))
    records, at = records + 1, closed + 1
    count("record_bytes", #record)
    count("billed_bytes", math.ceil(#record / BILLED_BYTES) * BILLED_BYTES)
    if string.byte(record) == 0x1f then count("gzip_records") else count("lines", occurrences(record, "\n")) end
  end
  count("calls"); count("call_bytes", #body); count("records", records)
  wait()
  answer(taken(records), "application/x-amz-json-1.1")
end

-- ---- S3: sources, and what they are copied to ---------------------------------------------------------------------------

local function xml(name, inside)
  answer(XML .. "<" .. name .. ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/">' .. inside .. "</" .. name .. ">",
    "application/xml")
end

function source()
  wait()
  local method, uri = ngx.req.get_method(), ngx.var.uri
  count("source_" .. method:lower())
  local etag = ngx.var.http_if_match
  if etag and not string.find(etag, '"', 1, true) then ngx.req.set_header("If-Match", '"' .. etag .. '"') end  -- as S3 has it
  if method == "DELETE" then
    objects:set("deleted" .. uri, true)
    ngx.exit(204)
  elseif objects:get("deleted" .. uri) then
    ngx.exit(404)
  elseif ngx.req.get_uri_args().tagging ~= nil then
    xml("Tagging", "<TagSet/>")
    ngx.exit(200)
  end
end

function source_headers()
  if ngx.status ~= 200 and ngx.status ~= 206 then return end
  ngx.header["x-amz-version-id"] = VERSION
  ngx.header["x-amz-server-side-encryption"] = "AES256"
  if ngx.req.get_method() == "HEAD" then  -- some SDKs would compare it with what they read
    ngx.header["x-amz-checksum-crc64nvme"] = CRC64
    ngx.header["x-amz-checksum-type"] = "FULL_OBJECT"
  end
end

local function facts_of(file)
  local opened = io.open(ROOT .. "/" .. string.gsub(file, "%.ndjson$", ".json"))
  local text = opened:read("*a")
  opened:close()
  return string.match(text, '"size_bytes": (%d+)'), string.match(text, '"sha256": "([^"]+)"')
end

function archive()
  wait()
  local method, uri, args = ngx.req.get_method(), ngx.var.uri, ngx.req.get_uri_args()
  local copied_from = string.match(ngx.var.http_x_amz_copy_source or "", "/?[^/]+/imports/([^/]+)/")
  count("archive_" .. method:lower())
  if args.uploads then
    ngx.req.read_body()
    xml("InitiateMultipartUploadResult", "<UploadId>upload</UploadId>")
  elseif args.uploadId and method == "PUT" then
    local first, last = string.match(ngx.var.http_x_amz_copy_source_range, "(%d+)-(%d+)")
    objects:set("piece" .. uri .. "#" .. args.partNumber, tonumber(last) - tonumber(first) + 1)
    objects:set("from" .. uri, copied_from)
    xml("CopyPartResult", '<ETag>"piece"</ETag>')
  elseif args.uploadId and method == "GET" then
    local pieces, number = {}, 1
    while objects:get("piece" .. uri .. "#" .. number) do
      pieces[number] = "<Part><PartNumber>" .. number .. '</PartNumber><ETag>"piece"</ETag><Size>' ..
        objects:get("piece" .. uri .. "#" .. number) .. "</Size></Part>"
      number = number + 1
    end
    xml("ListPartsResult", "<IsTruncated>false</IsTruncated>" .. table.concat(pieces))
  elseif args.uploadId and method == "POST" then
    ngx.req.read_body()
    objects:set("pieces" .. uri, objects:get("from" .. uri))
    xml("CompleteMultipartUploadResult", '<ETag>"copy-2"</ETag>')
  elseif method == "PUT" and copied_from then
    objects:set("copy" .. uri, copied_from)
    xml("CopyObjectResult", '<LastModified>2024-01-01T00:00:00.000Z</LastModified><ETag>"copy"</ETag>')
  elseif method == "HEAD" and (objects:get("copy" .. uri) or objects:get("pieces" .. uri)) then
    local whole = objects:get("copy" .. uri)
    local size, sha256 = facts_of(whole or objects:get("pieces" .. uri))
    ngx.header["ETag"] = whole and '"copy"' or '"copy-2"'
    ngx.header["Content-Length"] = size
    ngx.header["Last-Modified"] = "Mon, 01 Jan 2024 00:00:00 GMT"
    ngx.header["x-amz-checksum-type"] = "FULL_OBJECT"
    if whole then ngx.header["x-amz-checksum-sha256"] = sha256 else ngx.header["x-amz-checksum-crc64nvme"] = CRC64 end
  else
    ngx.exit(404)
  end
end
