# Shapes of work for timing engines side by side. Every builder is one static busybox that lies in
# the store, so that both engines run the same program.
{ n ? 200, salt ? "0", files ? 20000, busybox ? /opt/drover-bench/busybox-root, data ? "" }:
let
  root = builtins.path { path = busybox; name = "busybox"; };
  sh = name: attributes: script: derivation ({
    inherit name salt;
    system = builtins.currentSystem;
    builder = "${root}/bin/sh";
    PATH = "${root}/bin";
    args = [ "-c" script ];
  } // attributes);
  numbers = builtins.genList (i: i) n;
  leaf = i: sh "leaf-${toString i}" { } "echo ${toString i} > $out";
  # The list goes through a file: as a variable it could have no more than about 1,800 paths.
  join = name: deps: sh name { inherit deps; passAsFile = [ "deps" ]; } "cat $depsPath > $out";
  layer = above: k: builtins.genList (j: sh "node-${toString k}-${toString j}" {
    deps = if above == [ ] then [ ]
      else map (d: builtins.elemAt above (builtins.bitAnd (j * 7 + d * 3) 7)) [ 0 1 2 ];
  } "echo $deps > $out") 10;
  layers = k: above: if k * 10 >= n then above else layers (k + 1) (layer above k);
in {
  # n independent builds and one that needs them all
  fan = join "fan" (map leaf numbers);
  # n builds in a row
  chain = builtins.foldl' (previous: i: sh "link-${toString i}" { inherit previous; }
    "echo $previous > $out") (leaf 0) numbers;
  # n builds in layers of 10, each needing 3 of the layer above
  dag = join "dag" (layers 0 [ ]);
  # one file that the builder only copies; 200 inputs may be referred to
  inputs = join "inputs" (map leaf (builtins.genList (i: i) 200));
  big = sh "big" { deps = map leaf (builtins.genList (i: i) 200); } "cp ${data} $out";
  # many small files
  many = sh "many" { files = toString files; } (builtins.readFile ./many.sh);
  # 100 MB of log in about a second, or as long in silence: what holds one of two slots
  flood = sh "flood" { } ''
    i=0; while [ $i -lt 50 ]; do cat ${data}; sleep 0.02; i=$((i+1)); done; echo > $out'';
  silence = sh "silence" { } "sleep 1.5; echo > $out";
  # 50 trivial builds, each of which notes when it began
  ticks = join "ticks" (map (i: sh "tick-${toString i}" { } "/bin/date +%s%N > $out")
    (builtins.genList (i: i) 50));
}
