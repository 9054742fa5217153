/**
 * Shell completion, generated from the table of commands. Commands and flags stand in the script; names of the server's are asked for by `holdfast complete`,
 * which offers only what no shell takes for more than a word. Never by compgen -W, which would run what stands in a name.
 */
import { allFlags, children } from './help.ts'
import type { Command } from './types.ts'

interface Node {
  readonly words: string
  readonly names: readonly string[]
  readonly flags: readonly string[]
}

function nodes(commands: readonly Command[]): readonly Node[] {
  const paths = new Set(commands.flatMap((command) => command.path.map((_, at) => command.path.slice(0, at).join(' '))))
  for (const command of commands) paths.add(command.path.join(' '))
  return [...paths].toSorted().map((words) => {
    const path = words === '' ? [] : words.split(' ')
    const command = commands.find((one) => one.path.join(' ') === words)
    return {
      words,
      names: children(path, commands).map(([name]) => name),
      flags:
        command === undefined
          ? ['-help']
          : Object.keys(allFlags(command))
              .filter((name) => name !== 'h')
              .map((name) => `-${name}`),
    }
  })
}

const cases = (commands: readonly Command[]): string =>
  nodes(commands)
    .map(({ words, names, flags }) => `    '${words}') names='${names.join(' ')}'; flags='${flags.join(' ')}' ;;`)
    .join('\n')

const walk = `  local words='' names='' flags='' word
  for word in "\${typed[@]}"; do
    [[ $word == -* ]] && continue
    _holdfast_node "$words"
    [[ " $names " == *" $word "* ]] || break
    words="\${words:+$words }$word"
  done
  _holdfast_node "$words"`

function bash(commands: readonly Command[]): string {
  return `# holdfast completion for bash: source <(holdfast completion bash)
_holdfast_node() {
  case "$1" in
${cases(commands)}
    *) names=''; flags='' ;;
  esac
}
_holdfast() {
  local current="\${COMP_WORDS[COMP_CWORD]}"
  local typed=("\${COMP_WORDS[@]:1:COMP_CWORD-1}")
${walk}
  if [[ $current == -* ]]; then COMPREPLY=($(compgen -W "$flags" -- "$current"))
  elif [[ -n $names ]]; then COMPREPLY=($(compgen -W "$names" -- "$current"))
  else
    mapfile -t COMPREPLY < <("\${COMP_WORDS[0]}" complete -- "\${typed[@]}" "$current" 2>/dev/null)
    if ((\${#COMPREPLY[@]} == 0)); then COMPREPLY=($(compgen -f -- "$current"))
    elif [[ \${COMPREPLY[0]} == */ ]]; then compopt -o nospace 2>/dev/null; fi
  fi
}
complete -o bashdefault -F _holdfast holdfast
`
}

function zsh(commands: readonly Command[]): string {
  return `#compdef holdfast
# holdfast completion for zsh: source <(holdfast completion zsh)
_holdfast_node() {
  case "$1" in
${cases(commands)}
    *) names=''; flags='' ;;
  esac
}
_holdfast() {
  local -a typed
  typed=("\${(@)words[2,CURRENT-1]}")
  local current="\${words[CURRENT]}"
${walk.replace("local words=''", "local at=''").replaceAll('"$words"', '"$at"').replace('words="${words:+$words }$word"', 'at="${at:+$at }$word"')}
  if [[ $current == -* ]]; then compadd -- \${=flags}
  elif [[ -n $names ]]; then compadd -- \${=names}
  else
    local -a found
    found=("\${(@f)$("\${words[1]}" complete -- "\${typed[@]}" "$current" 2>/dev/null)}")
    if [[ -n \${found[1]} ]]; then compadd -S '' -- "\${found[@]}"
    else _files; fi
  fi
}
compdef _holdfast holdfast
`
}

function fish(commands: readonly Command[]): string {
  const lines = nodes(commands).flatMap(({ words, names, flags }) => {
    const at = `-n '__holdfast_at "${words}"'`
    return [
      ...(names.length === 0 ? [] : [`complete -c holdfast -f ${at} -a '${names.join(' ')}'`]),
      ...(names.length === 0 ? [`complete -c holdfast ${at} -a '(__holdfast_values)'`] : []),
      ...flags.map((flag) => `complete -c holdfast ${at} -o ${flag.slice(1)}`),
    ]
  })
  return `# holdfast completion for fish: holdfast completion fish | source
function __holdfast_at
  set -l typed (string match -v -- '-*' (commandline -opc)[2..-1])
  set -l known ${nodes(commands)
    .filter(({ words }) => words !== '')
    .map(({ words }) => `"${words}"`)
    .join(' ')}
  set -l at ''
  for word in $typed
    set -l next (string trim "$at $word")
    contains -- "$next" $known; or break
    set at $next
  end
  test "$at" = "$argv[1]"
end
function __holdfast_values
  set -l typed (commandline -opc)
  $typed[1] complete -- $typed[2..-1] (commandline -ct) 2>/dev/null
end
${lines.join('\n')}
`
}

export const completionShells = ['bash', 'zsh', 'fish'] as const

export function completionScript(shell: (typeof completionShells)[number], commands: readonly Command[]): string {
  return { bash, zsh, fish }[shell](commands)
}
