// Bytes of a model by part, as helpers/memory/forecast.py forecasts them, for the Llama and Mistral families. Weights, constants,
// cache, adapters and optimizer follow from the configuration. Activations don't: they are traced in Python, step by
// step, and read here from a table (FORECASTS) for the presets. tests/test_site.py holds the two equal, byte for byte.
"use strict";

const forecast = (() => {
  const CONTEXT = 500_000_000, WORKSPACE = 33_562_624; // CUDA's own, and the matrix library's, as in Python
  const PLAIN = { fp32: 4, fp16: 2, bf16: 2 };
  const SAME = { fp16: "bf16", fp4: "nf4" }; // schemes that take the same bytes
  const SHARDED = ["codes", "linear", "biases", "embeddings", "head", "norms", "adapters", "gradients", "optimizer", "optimizer_paged"];
  const sum = (all) => all.reduce((total, one) => total + one, 0);

  // Read a configuration; the answer is {config}, or {said}: a sentence on why there can be no forecast
  function configOf(text) {
    let given;
    try { given = JSON.parse(text); } catch { return { said: "This is no JSON: paste the whole config.json, from its first brace to its last." }; }
    if (given === null || typeof given != "object" || Array.isArray(given)) return { said: "This is no configuration: paste the whole config.json, which begins with a brace." };
    const type = given.model_type;
    if (!["llama", "mistral"].includes(type)) {
      const name = typeof type == "string" ? `“${type.slice(0, 40)}”` : "not given";
      return { said: `Its model_type is ${name}, and this page knows the layers of llama and mistral. Notebook 05 forecasts any other with helpers.memory.predict.` };
    }
    const config = { type };
    for (const key of ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"]) {
      if (!(key in given)) return { said: `It has no ${key}, without which nothing can be counted.` };
      config[key] = given[key];
    }
    const heads = config.num_attention_heads;
    config.num_key_value_heads = given.num_key_value_heads ?? (type == "mistral" && !("num_key_value_heads" in given) ? 8 : heads);
    config.head_dim = given.head_dim ?? config.hidden_size / heads; // transformers' defaults, here and below
    for (const [key, value] of Object.entries(config)) {
      if (key != "type" && !(Number.isInteger(value) && value >= 1 && value <= 10_000_000)) {
        return { said: `Its ${key} is ${JSON.stringify(value)?.slice(0, 40)}, and must be a whole number from 1 to 10,000,000.` };
      }
    }
    if (heads % config.num_key_value_heads) return { said: `Its ${heads} heads can’t share ${config.num_key_value_heads} key/value heads evenly.` };
    if (config.head_dim % 2) return { said: `Its head_dim is ${config.head_dim}, and rotary positions need an even one.` };
    const window = "sliding_window" in given ? given.sliding_window : 4096;
    if (type == "mistral" && window !== null && !(Number.isInteger(window) && window >= 1)) {
      return { said: `Its sliding_window is ${JSON.stringify(window)?.slice(0, 40)}, and must be a whole number, or null for none.` };
    }
    config.window = type == "mistral" ? window : null;
    for (const key of ["tie_word_embeddings", "attention_bias", "mlp_bias"]) {
      if (key in given && typeof given[key] != "boolean") return { said: `Its ${key} is ${JSON.stringify(given[key])?.slice(0, 40)}, and must be true or false.` };
    }
    config.tied = given.tie_word_embeddings ?? false;
    config.attention_bias = type == "llama" && (given.attention_bias ?? false);
    config.mlp_bias = type == "llama" && (given.mlp_bias ?? false);
    const rope = given.rope_parameters ?? given.rope_scaling ?? {};
    const kind = rope?.rope_type ?? rope?.type ?? "default";
    if ((rope?.partial_rotary_factor ?? given.partial_rotary_factor ?? 1) != 1 || kind == "longrope") {
      return { said: "Its rotary positions are of a kind that this page doesn’t know. Notebook 05 forecasts it with helpers.memory.predict." };
    }
    return { config, quantized: "quantization_config" in given };
  }

  // The linear layers of one decoder layer: [inputs, outputs, has a bias]
  function layers(config) {
    const { hidden_size: h, intermediate_size: f, head_dim: d } = config;
    const wide = config.num_attention_heads * d, narrow = config.num_key_value_heads * d;
    const a = config.attention_bias, m = config.mlp_bias;
    return [[h, wide, a], [h, narrow, a], [h, narrow, a], [wide, h, a], [h, f, m], [h, f, m], [f, h, m]];
  }

  // Bytes of one quantized matrix and its constants
  function quantized(n, outputs, scheme) {
    if (scheme == "int8") return { codes: n, absmax: 4 * outputs };
    const blocks = Math.ceil(n / 64), codes = Math.ceil(n / 2), table = 16 * 4;
    if (scheme != "nf4-dq") return { codes, absmax: 4 * blocks, tables: table };
    return { codes, absmax: blocks, second_level: 4 * Math.ceil(blocks / 256), tables: table + 256 * 4 + 4 };
  }

  // The model itself. In training all that is not quantized is put into 32 bits, if anything is quantized.
  function weights(config, scheme, train) {
    const parts = {}, times = config.num_hidden_layers, { hidden_size: h, vocab_size: vocabulary } = config;
    const size = PLAIN[scheme] ?? (train ? 4 : 2);
    const add = (part, bytes) => { parts[part] = (parts[part] ?? 0) + bytes; };
    for (const [inputs, outputs, bias] of layers(config)) {
      const n = inputs * outputs;
      const matrix = scheme in PLAIN ? { linear: size * n } : quantized(n, outputs, scheme);
      for (const [part, bytes] of Object.entries(matrix)) add(part, times * bytes);
      if (bias) add("biases", times * size * outputs);
    }
    add("embeddings", vocabulary * h * size);
    if (!config.tied) add("head", vocabulary * h * size);
    add("norms", (2 * times + 1) * h * size);
    add("buffers", config.head_dim * 4); // rotary frequencies, twice half of them, in 32 bits
    return parts;
  }

  // LoRA on all linear layers, in 32 bits, and AdamW: paged and in 8 bits as bitsandbytes keeps it, or in 32 in shards
  function adapters(config, rank, shards) {
    const parts = { adapters: 0, optimizer: 0, optimizer_paged: 0 };
    for (const [inputs, outputs] of layers(config)) {
      for (const n of [rank * inputs, outputs * rank]) {
        const eight = shards == 1 && n >= 4096; // smaller states stay in 32 bits
        parts.adapters += config.num_hidden_layers * 4 * n;
        parts[shards == 1 && n >= 100_000 ? "optimizer_paged" : "optimizer"] += config.num_hidden_layers * 2 * n * (eight ? 1 : 4);
        if (eight) parts.optimizer += config.num_hidden_layers * 2 * 4 * Math.ceil(n / 256);
      }
    }
    return parts;
  }

  const cache = (config, scheme, batch, tokens) => batch * (PLAIN[scheme] ?? 2) * config.num_hidden_layers * 2
    * config.num_key_value_heads * config.head_dim * Math.min(tokens, config.window ?? tokens);

  // What each of several GPUs holds: most is divided, constants are not, and the head and two layers are whole
  function sharded(parts, config, shards) {
    const divided = Object.fromEntries(Object.entries(parts).map(([part, bytes]) =>
      [part, SHARDED.includes(part) ? Math.ceil(bytes / shards) : bytes]));
    const outside = parts.head || parts.embeddings || 0;
    const inside = sum(["codes", "linear", "biases", "norms", "adapters"].map((part) => parts[part] ?? 0));
    divided.unsharded = outside + 2 * Math.ceil(inside / config.num_hidden_layers);
    return divided;
  }

  // The answer to a question {preset or config, scheme, stage, batch, context, rank, shards}: {parts, total, whole}, where
  // `whole` says whether all parts are known; or {said}.
  function predict(question) {
    const { preset, scheme, stage, batch, context, rank = 16, shards = 1 } = question;
    const read = preset ? configOf(JSON.stringify(FORECASTS.presets[preset])) : { config: question.config };
    const config = read.config, train = stage == "train";
    let parts = weights(config, scheme, train), whole = true, said = "";
    if (train) parts = { ...parts, ...adapters(config, rank, shards) };
    if (stage == "load") {
      parts.kv_cache = cache(config, scheme, batch, context);
    } else {
      const key = [preset, SAME[scheme] ?? scheme, stage, batch, context, ...(train ? [rank] : [])].join(" ");
      const traced = preset && FORECASTS.table[key];
      if (traced) FORECASTS.parts.forEach((part, i) => { parts[part] = traced[i]; });
      else [whole, said] = [false, missing(question)];
      if (shards > 1) parts = sharded(parts, config, shards);
      parts.workspace = WORKSPACE * (train ? 2 : 1);
      parts.context = CONTEXT;
    }
    parts = Object.fromEntries(Object.keys(FORECASTS.names).filter((part) => parts[part]).map((part) => [part, parts[part]]));
    const total = sum(Object.values(parts));
    if (total > Number.MAX_SAFE_INTEGER) return { said: "That is more bytes than this page can count exactly: take a smaller model, batch or context." };
    return { parts, total, whole, said };
  }

  function missing({ preset, stage }) {
    const list = (all) => all.map((one) => one.toLocaleString("en")).join(", ");
    if (!preset) return "Activations follow no formula. They are traced in Python, and for the presets alone they are in a table here: for your model, helpers.memory.predict traces them, in notebook 05. What stands below is exact, but the peak is higher.";
    return `Activations come from a table of traced steps. It has contexts of ${list(FORECASTS.lengths[stage])} tokens and batches of ${list(FORECASTS.batches)}`
      + (stage == "train" ? `, with ranks ${list(FORECASTS.ranks)}` : "") + ": choose among these for the peak. What stands below leaves activations out.";
  }

  return { configOf, predict };
})();
