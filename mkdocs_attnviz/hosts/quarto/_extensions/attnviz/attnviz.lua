-- Attention figures in Quarto and Pandoc: each code block of class `attention` becomes a figure.
--
-- All blocks of a page are drawn by one call of `attnviz render`, from the cache (`attnviz run` fills it). Pages of HTML
-- get the interactive figure, all other formats its static picture. The guide's page "Quarto" says more.
--
-- Metadata: `attnviz-command` (the command; a text or a list), `attnviz-config` (its configuration), `attnviz-strict`
-- (fail if a block cannot be drawn), and for Pandoc without Quarto `attnviz-assets` and `attnviz-assets-url` (a folder
-- for scripts and data, and its URL in the page).

local path, system, utils = pandoc.path, pandoc.system, pandoc.utils

local INTERACTIVE = { "^html", "^chunkedhtml", "^revealjs", "^slidy", "^slideous", "^dzslides", "^s5" }
local PICTURES = { latex = "pdf,svg", beamer = "pdf,svg", context = "pdf,svg", ms = "pdf,svg",
  docx = "png,svg", pptx = "png,svg", odt = "png,svg", opendocument = "png,svg", rtf = "png,svg", icml = "png,svg" }
local CONTAINERS = { docx = true, pptx = true, odt = true, rtf = true, epub = true, epub2 = true, epub3 = true, fb2 = true }
local MIME = { svg = "image/svg+xml", png = "image/png", pdf = "application/pdf" }
local CROSSREF = "^fig%-"
local NAME = "attention"

-- ---- JSON, which pandoc.json reads from Pandoc 3.1 on

local ESCAPES = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }

local function encode(value)
  if type(value) == "table" then
    local pairs_of = {}
    for key, each in pairs(value) do
      pairs_of[#pairs_of + 1] = encode(key) .. ":" .. encode(each)
    end
    return "{" .. table.concat(pairs_of, ",") .. "}"
  elseif type(value) == "string" then
    return '"' .. value:gsub('[%c"\\]', function(c) return string.format("\\u%04x", c:byte()) end) .. '"'
  end
  return tostring(value)
end

local function decode_string(text, start)
  local parts, place = {}, start + 1
  while true do
    local stop = text:find('["\\]', place)
    parts[#parts + 1] = text:sub(place, stop - 1)
    if text:sub(stop, stop) == '"' then
      return table.concat(parts), stop + 1
    end
    local letter = text:sub(stop + 1, stop + 1)
    place = stop + 2
    if letter == "u" then
      local code = tonumber(text:sub(place, place + 3), 16)
      place = place + 4
      if code >= 0xD800 and code < 0xDC00 and text:sub(place, place + 1) == "\\u" then -- a pair of surrogates
        local low = tonumber(text:sub(place + 2, place + 5), 16)
        code, place = 0x10000 + (code - 0xD800) * 0x400 + (low - 0xDC00), place + 6
      end
      parts[#parts + 1] = utf8.char(code)
    else
      parts[#parts + 1] = ESCAPES[letter]
    end
  end
end

local decode

local function decode_items(text, place, closing, add)
  place = text:find("%S", place)
  while text:sub(place, place) ~= closing do
    place = text:find("%S", add(place))
    if text:sub(place, place) == "," then
      place = text:find("%S", place + 1)
    end
  end
  return place + 1
end

-- Return the value that begins at or after `place`, and the place after it. `null` is nil.
function decode(text, place)
  place = text:find("%S", place or 1)
  local first = text:sub(place, place)
  if first == '"' then
    return decode_string(text, place)
  elseif first == "{" or first == "[" then
    local value, key = {}, nil
    local stop = decode_items(text, place + 1, first == "{" and "}" or "]", function(at)
      local item
      if first == "{" then
        key, at = decode_string(text, at)
        at = text:find(":", at, true) + 1
      else
        key = (key or 0) + 1
      end
      item, at = decode(text, at)
      value[key] = item
      return at
    end)
    return value, stop
  end
  local word = text:match("^[%w.+-]+", place)
  local constants = { ["true"] = true, ["false"] = false }
  if constants[word] ~= nil then
    return constants[word], place + #word
  end
  return tonumber(word), place + #word
end

-- ---- the page

local function is_ours(block)
  return block.classes[1] == NAME
end

local function text_of(value)
  return value ~= nil and utils.stringify(value) or nil
end

local function exists(file)
  local opened = io.open(file, "r")
  if opened then
    opened:close()
  end
  return opened ~= nil
end

local function read(file)
  local opened = assert(io.open(file, "rb"))
  local content = opened:read("a")
  opened:close()
  return content
end

local function stem(file)
  return (path.split_extension(path.filename(file)))
end

-- The folder of the project: Quarto's, or the one that Pandoc runs in.
local function project()
  return quarto and quarto.project and quarto.project.directory or system.get_working_directory()
end

-- The page's file, as messages name it.
local function page_name()
  if quarto then
    return path.make_relative(quarto.doc.input_file, project())
  end
  local files = PANDOC_STATE.input_files
  return #files > 0 and table.concat(files, ", ") or nil
end

-- The block's options that stand in the fence's header. Other attributes with a hyphen belong to Quarto or Pandoc.
local function header(block)
  local options = {}
  if block.identifier ~= "" then
    options.id = block.identifier
  end
  for key, value in pairs(block.attributes) do
    if key == "fig-cap" then
      options.caption = value
    elseif not key:find("-", 1, true) then
      options[key] = value
    end
  end
  return options
end

-- Return whether Quarto numbers this figure, and sets its caption.
local function is_crossref(block)
  local id = block.identifier ~= "" and block.identifier or (("\n" .. block.text):match("\nid:%s*[\"']?([%w_.-]+)") or "")
  return quarto ~= nil and id:match(CROSSREF) ~= nil
end

-- Return whether everything goes into one file. Quarto tells filters so in a file alone, and of an option of its command
-- line nothing; Pandoc tells them nothing.
local function embeds(meta)
  for _, key in ipairs({ "embed-resources", "self-contained" }) do
    if meta[key] ~= nil and text_of(meta[key]) == "true" then
      return true
    end
  end
  local info = os.getenv("QUARTO_EXECUTE_INFO")
  if not (info and exists(info)) then
    return false
  end
  local said = decode(read(info))
  local options = said.format and said.format.pandoc or {}
  return options["embed-resources"] == true or options["self-contained"] == true
end

-- Return whether a block that cannot be drawn, or a claim that does not hold, ends the build.
local function is_strict(meta)
  local own = meta.attnviz and utils.type(meta.attnviz) == "table" and meta.attnviz.strict or meta["attnviz-strict"]
  return own ~= nil and text_of(own) == "true"
end

-- ---- the call of `attnviz render`

local function command(meta)
  local given = meta["attnviz-command"]
  local words = {}
  if given ~= nil and utils.type(given) == "List" then
    for _, word in ipairs(given) do
      words[#words + 1] = utils.stringify(word)
    end
  else
    words = { text_of(given) or "attnviz" }
  end
  for _, word in ipairs({ "render", "--json" }) do
    words[#words + 1] = word
  end
  local config = text_of(meta["attnviz-config"])
  for _, name in ipairs(quarto and not config and { "_quarto.yml", "_quarto.yaml", "attnviz.yml" } or {}) do
    local file = path.join({ project(), name })
    config = config or (exists(file) and file or nil)
  end
  if config then
    words[#words + 1] = "--config=" .. config
  end
  return words
end

-- Return the answers to the questions about blocks, in order.
local function ask(meta, blocks, options)
  local words = command(meta)
  for _, option in ipairs(options) do
    words[#words + 1] = option
  end
  local strict = is_strict(meta)
  words[#words + 1] = strict and "--strict" or nil
  local questions = {}
  for number, block in ipairs(blocks) do
    questions[number] = encode({
      body = block.text, header = header(block), page = page_name(), apart = is_crossref(block) })
  end
  local program = table.remove(words, 1)
  local done, output = pcall(pandoc.pipe, program, words, table.concat(questions, "\n") .. "\n")
  local why = "cannot be run; install it (`pip install attnviz`), or name it by the metadata `attnviz-command`"
  if not done then
    local ended = output -- Pandoc gives a table with the exit status, or a text if the program does not exist
    local status = type(ended) == "table" and ended.error_code or nil
    why = status and "has ended with exit status " .. status .. "; its message is above" or why
    why = status == 1 and "has found what its messages above say, and `strict` is set" or why
    output = status == 1 and not strict and ended.output or nil -- a block that cannot be drawn has an answer, too
  end
  local answers = {}
  for line in (output or ""):gmatch("[^\r\n]+") do
    answers[#answers + 1] = decode(line)
  end
  if #answers ~= #blocks then
    error("`" .. program .. " render` " .. why .. ".", 0)
  end
  return answers
end

-- ---- what a block becomes

local function inlines(text)
  return utils.blocks_to_inlines(pandoc.read(text, "markdown").blocks)
end

-- Captions are Markdown here, as all captions of Quarto and Pandoc.
local function with_caption(html, caption)
  if not caption then
    return html
  end
  local set = pandoc.write(pandoc.Pandoc({ pandoc.Plain(inlines(caption)) }), "html")
  return (html:gsub("(<figcaption[^>]*>).-(</figcaption>)", function(open, close) return open .. set .. close end, 1))
end

local function raw(answer)
  return pandoc.RawBlock("html", with_caption(answer.html, answer.caption))
end

local function interactive(answer, block)
  if not (answer.ok and is_crossref(block)) then
    return raw(answer)
  end
  local content = { pandoc.RawBlock("html", answer.html) }
  if answer.caption then
    content[2] = pandoc.Para(inlines(answer.caption))
  end
  return pandoc.Div(content, pandoc.Attr(answer.id))
end

-- Return an alert in a format that runs no script.
local function alert(answer)
  local problem = answer.problems[1]
  local text = { pandoc.Strong({ pandoc.Str("This attention block could not be drawn.") }), pandoc.Str(" ") }
  for words, code in (problem.message .. "``"):gmatch("([^`]*)`([^`]*)`") do
    text[#text + 1] = pandoc.Str(words)
    text[#text + 1] = code ~= "" and pandoc.Code(code) or nil
  end
  text[#text + 1] = pandoc.Str(problem.where ~= "" and " (" .. problem.where .. ")" or "")
  return pandoc.BlockQuote({ pandoc.Para(text) })
end

-- Return a picture with its caption, as the writer of the format knows it.
local function pictured(answer, block, source)
  local size = MIME.png == MIME[answer.picture:match("%w+$")] and { width = math.floor(answer.width) .. "px" } or {}
  local text = { pandoc.Str(answer.text) }
  local image = pandoc.Image(text, source, "", pandoc.Attr("", {}, size))
  local caption = answer.caption and inlines(answer.caption)
  if quarto and is_crossref(block) then
    return pandoc.Div({ pandoc.Para({ image }), caption and pandoc.Para(caption) or nil }, pandoc.Attr(answer.id))
  end
  local id = block.identifier ~= "" and block.identifier or (answer.id:match("^attnviz%-%d+$") and "" or answer.id)
  if not caption then
    local plain = pandoc.Para({ image })
    return id ~= "" and pandoc.Div({ plain }, pandoc.Attr(id)) or plain
  elseif pandoc.Figure then -- from Pandoc 3 on
    return pandoc.Figure({ pandoc.Plain({ image }) }, { long = { pandoc.Plain(caption) } }, pandoc.Attr(id))
  end
  image.caption, image.title, image.identifier = caption, "fig:", id
  return pandoc.Para({ image })
end

-- ---- the two ways to draw a page

-- Return what the blocks become in HTML.
local function draw_html(meta, blocks)
  local options, folder = {}, nil
  if quarto and not embeds(meta) then
    folder = path.join({ project(), ".quarto", "attnviz" }) -- from there Quarto copies them beside the page
    options = { "--assets=" .. folder, "--no-scripts" }
  elseif meta["attnviz-assets"] and not quarto and not embeds(meta) then
    options = { "--assets=" .. text_of(meta["attnviz-assets"]) }
    if meta["attnviz-assets-url"] then
      options[2] = "--assets-url=" .. text_of(meta["attnviz-assets-url"])
    end
  end
  local answers = ask(meta, blocks, options)
  if folder then
    local scripts, resources, known = {}, {}, {}
    for _, name in ipairs(answers[1].scripts) do
      scripts[#scripts + 1] = { name = name, path = path.join({ folder, name }), attribs = { defer = "defer" } }
    end
    for _, answer in ipairs(answers) do
      for _, name in ipairs(answer.files or {}) do
        if not known[name] then
          known[name] = true
          resources[#resources + 1] = { name = name, path = path.join({ folder, name }) }
        end
      end
    end
    if #scripts > 0 then
      quarto.doc.add_html_dependency({ name = "attnviz", scripts = scripts, resources = resources })
    end
  end
  local drawn = {}
  for number, answer in ipairs(answers) do
    drawn[number] = interactive(answer, blocks[number])
  end
  return drawn
end

-- Return the folder of pictures, and the path by which the page refers to it.
local function picture_folder()
  if quarto then -- where Quarto keeps the figures of a page
    local input = quarto.doc.input_file
    local inner = path.join({ stem(input) .. "_files", "figure-" .. FORMAT:match("^%w+") })
    return path.join({ path.directory(input), inner }), inner
  end
  local output = PANDOC_STATE.output_file or "attnviz"
  local inner = stem(output) .. "_files"
  return path.join({ path.directory(output), inner }), inner
end

local function draw_pictures(meta, blocks)
  local format = PICTURES[FORMAT:match("^%w+")] or "svg"
  local output = PANDOC_STATE.output_file or ""
  local inside = not quarto and (CONTAINERS[FORMAT] or output:match("%.pdf$") ~= nil)
  local function draw(folder, url)
    local answers, drawn = ask(meta, blocks, { "--format=" .. format, "--assets=" .. folder }), {}
    for number, answer in ipairs(answers) do
      local source = answer.ok and path.join({ url, answer.picture })
      if answer.ok and inside then
        source = answer.picture
        local kind = MIME[answer.picture:match("%w+$")]
        pandoc.mediabag.insert(source, kind, read(path.join({ folder, answer.picture })))
      end
      drawn[number] = answer.ok and pictured(answer, blocks[number], (source:gsub("\\", "/"))) or alert(answer)
    end
    return drawn
  end
  if inside then
    return system.with_temporary_directory("attnviz", function(folder) return draw(folder, "") end)
  end
  return draw(picture_folder())
end

-- Warn of a fence that Pandoc does not read as a code block of ours: some versions read it as code in a line.
local function warn_of_braces(text)
  if text:match("^{" .. NAME .. "[%s}]") then
    local warning = ": A fence has `{attention}`; write `attention` without braces, or `{.attention}`.\n"
    io.stderr:write(page_name() or "A page", warning)
  end
end

function Pandoc(doc)
  local blocks = {}
  doc:walk({
    CodeBlock = function(block)
      if is_ours(block) then
        blocks[#blocks + 1] = block
      end
      warn_of_braces(block.classes[1] or "")
    end,
    Code = function(code) warn_of_braces(code.text .. " ") end,
  })
  if #blocks == 0 then
    return nil
  end
  local draw = draw_pictures
  for _, pattern in ipairs(INTERACTIVE) do
    draw = FORMAT:match(pattern) and draw_html or draw
  end
  local drawn, number = draw(doc.meta, blocks), 0
  return doc:walk({ CodeBlock = function(block)
    if is_ours(block) then
      number = number + 1
      return drawn[number]
    end
  end })
end
