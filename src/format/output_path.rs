//! How store paths are computed: texts, sources, outputs, `hashDerivationModulo`.
