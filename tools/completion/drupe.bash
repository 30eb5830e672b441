# SPDX-License-Identifier: Apache-2.0
# bash completion for drupe: source this file, or install it as
# /usr/share/bash-completion/completions/drupe

_drupe_options() {
    drupe "$1" --help 2>/dev/null | grep -oE -- '(^|[ ,])--?[a-z][a-z-]*' | tr -d ' ,' | sort -u
}

_drupe() {
    local word=${COMP_WORDS[COMP_CWORD]} verb= i
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        -C) ((i++)) ;;
        -*) ;;
        *)
            verb=${COMP_WORDS[i]}
            break
            ;;
        esac
    done
    if [[ -z $verb || $verb == help ]]; then
        mapfile -t COMPREPLY < <(compgen -W 'init build pack run logs doctor vmm jailer version help' -- "$word")
    elif [[ ${COMP_WORDS[COMP_CWORD - 1]} == --accel ]]; then
        mapfile -t COMPREPLY < <(compgen -W 'auto kvm qemu' -- "$word")
    elif [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_drupe_options "$verb")" -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    fi
}

complete -o filenames -F _drupe drupe
