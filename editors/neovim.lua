-- pipe in Neovim 0.7 or newer: copy this into your configuration, or `require` it. Nothing else is needed.
--
-- Diagnostics come while you type; `gd`, `gr`, `K`, `<leader>rn`, `<leader>ca` and `<leader>f` are mapped below for
-- KDL files alone. Completion is on CTRL-X CTRL-O.

local function root_of(file)
  local folder = vim.fn.fnamemodify(file, ":p:h")
  local git = vim.fn.finddir(".git", folder .. ";")
  return git ~= "" and vim.fn.fnamemodify(git, ":p:h:h") or folder
end

local function attached(client, buffer)
  vim.api.nvim_buf_set_option(buffer, "omnifunc", "v:lua.vim.lsp.omnifunc")
  local keys = {
    gd = vim.lsp.buf.definition,
    gr = vim.lsp.buf.references,
    K = vim.lsp.buf.hover,
    ["<leader>rn"] = vim.lsp.buf.rename,
    ["<leader>ca"] = vim.lsp.buf.code_action,
    ["<leader>f"] = vim.lsp.buf.format or vim.lsp.buf.formatting,
  }
  for key, action in pairs(keys) do
    vim.keymap.set("n", key, function() action() end, { buffer = buffer })
  end
  -- What the store has of each step, at the end of its line: Neovim 0.10 and newer.
  if vim.lsp.inlay_hint and client.server_capabilities.inlayHintProvider then
    vim.lsp.inlay_hint.enable(true, { bufnr = buffer })
  end
end

local clients = {}

vim.api.nvim_create_autocmd({ "BufRead", "BufNewFile" }, {
  pattern = "*.kdl",
  callback = function(event)
    vim.bo[event.buf].filetype = "kdl"
    local config = {
      name = "pipe",
      cmd = { vim.g.pipe_command or "pipe", "lsp" },
      root_dir = root_of(event.file),
      on_attach = attached,
    }
    if vim.lsp.start then
      vim.lsp.start(config, { bufnr = event.buf })
      return
    end
    local known = clients[config.root_dir]
    if not known or vim.lsp.client_is_stopped(known) then
      known = vim.lsp.start_client(config)
      clients[config.root_dir] = known
    end
    vim.lsp.buf_attach_client(event.buf, known)
  end,
})
