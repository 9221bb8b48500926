#!/bin/sh
# Cargo calls this as `rustc.sh RUSTC ARGUMENTS...`, see reproducible.rs: the
# same source gives the same file, whatever directory it was built in.
rustc=$1
shift
# Cargo also asks the compiler what it is; then it builds no crate.
[ -n "${CARGO_MANIFEST_DIR-}" ] || exec "$rustc" "$@"
package=$CARGO_PKG_NAME-$CARGO_PKG_VERSION

# Cargo hashes the absolute path of a path dependency into `-C metadata`, which
# every symbol's name and many constants are made of. The package's name and
# version say as much: a lock file does not take two path dependencies of one
# name and version. Crates of registries and git have no path in their hash.
identity=
case $CARGO_MANIFEST_DIR in
"$PGTQ_CARGO_HOME"/*) ;;
*)
  identity=$package
  for argument do
    case $argument in
    feature=*) identity=$identity,$argument ;;
    esac
  done
  ;;
esac

target=
for argument do
  shift
  case $argument in
  metadata=*) [ -z "$identity" ] || argument=metadata=$identity ;;
  "$PGTQ_TARGET") target=$argument ;;
  esac
  set -- "$@" "$argument"
done

# The last rule that fits a path counts.
set -- "$@" \
  "--remap-path-prefix=$PGTQ_CARGO_HOME=/cargo" \
  "--remap-path-prefix=$PGTQ_STD_SOURCES=$PGTQ_STD_NAME" \
  "--remap-path-prefix=$(pwd -P)=/build" \
  "--remap-path-prefix=$CARGO_MANIFEST_DIR=/$package"
[ -z "${OUT_DIR-}" ] || set -- "$@" "--remap-path-prefix=$OUT_DIR=/$package/out"

# The linker names the module after its output, whose name has cargo's hash in it.
[ -z "$target" ] || set -- "$@" "-Clink-arg=--soname=$CARGO_CRATE_NAME.wasm"
exec "$rustc" "$@"
