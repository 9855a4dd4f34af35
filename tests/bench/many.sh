# Makes $files small files in 500s below $out. Run by an engine and, for comparison, alone.
mkdir $out; i=0; while [ $i -lt $files ]; do
  d=$out/d$((i / 500)); [ -d $d ] || mkdir $d; echo "file $i $out" > $d/f$i; i=$((i+1)); done
