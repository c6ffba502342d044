-- Drives Neovim without a screen: looks at the diagnostics of the text, mends it, and goes around in it.

local function say(what, ...)
  io.stdout:write(table.concat({ what, ... }, " ") .. "\n")
end

local function until_true(what)
  return vim.wait(20000, what, 20)
end

local function ask(method, params)
  for _, answer in pairs(vim.lsp.buf_request_sync(0, "textDocument/" .. method, params, 20000) or {}) do
    return answer.result
  end
end

local function first_line(number)
  return vim.api.nvim_buf_get_lines(0, number - 1, number, true)[1]
end

until_true(function() return #vim.diagnostic.get(0) > 0 end)
local found = vim.diagnostic.get(0)[1]
local code = found.code or found.user_data.lsp.code
say("finding", code, found.lnum .. ":" .. found.col .. "-" .. found.end_col)

local here = { line = found.lnum, character = 20 }
local file = vim.lsp.util.make_text_document_params()
local action = ask("codeAction", { textDocument = file, range = { start = here, ["end"] = here }, context = { diagnostics = {} } })[1]
say("action", action.title)
vim.lsp.util.apply_workspace_edit(action.edit, "utf-16")
say("line", first_line(8))
until_true(function() return #vim.diagnostic.get(0) == 0 end)
say("findings", tostring(#vim.diagnostic.get(0)))

vim.api.nvim_win_set_cursor(0, { 8, 28 })
vim.lsp.buf.definition()
until_true(function() return vim.api.nvim_win_get_cursor(0)[1] == 3 end)
local cursor = vim.api.nvim_win_get_cursor(0)
say("definition", cursor[1] .. ":" .. cursor[2])
local hover = ask("hover", vim.lsp.util.make_position_params(0, "utf-16"))
say("hover", (hover.contents.value:gsub("\n.*", "")))

vim.lsp.buf.rename("produced")
until_true(function() return first_line(3):find("produced") ~= nil end)
say("renamed", first_line(3))
local edits = ask("formatting", { textDocument = file, options = { tabSize = 4, insertSpaces = true } })
vim.lsp.util.apply_text_edits(edits, 0, "utf-16")
say("formatted", first_line(1))
vim.cmd("qall!")
