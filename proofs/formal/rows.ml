(* Reads rows from standard input, one a line, and prints the number that each gets, one a line, from the algorithm that was
   extracted from its proof (ValueNumbering.v). A row is

     apply OPERATION ROW…     mixture WEIGHTS ROW…     total ROW…     quotient BASE TERM… / TERM…

   where operations, weights and bases are numbers that stand for them, rows are named by their place, from 0, and a term is
   ROW, or ROW:EXPONENT with a power of the base. Trusted: this file, the writer of the rows (entries.py), and the compiler. *)

open Numbering

exception Damaged of string

let whole text =
  match int_of_string_opt text with
  | Some n when n >= 0 -> n
  | _ -> raise (Damaged ("expected a number from 0 on, but got " ^ text))

let exponent text =
  let e = whole text in
  if e <= 4096 then e else raise (Damaged ("expected an exponent to 4096, but got " ^ text))

let term text =
  match String.split_on_char ':' text with
  | [ r ] -> (whole r, 0)
  | [ r; e ] -> (whole r, exponent e)
  | _ -> raise (Damaged ("expected a term, but got " ^ text))

let rec split_at_bar above = function
  | "/" :: below -> (List.rev_map term above, List.map term below)
  | word :: rest -> split_at_bar (word :: above) rest
  | [] -> raise (Damaged "expected a quotient of two sums, but got one")

let row line =
  match List.filter (fun word -> word <> "") (String.split_on_char ' ' line) with
  | "apply" :: f :: rest -> Apply (Obj.magic (whole f), List.map whole rest)
  | "mixture" :: w :: rest -> Mixture (Obj.magic (whole w), List.map whole rest)
  | "total" :: rest -> Total (List.map whole rest)
  | "quotient" :: b :: rest ->
      let above, below = split_at_bar [] rest in
      Quotient (Obj.magic (whole b), above, below)
  | _ -> raise (Damaged ("expected a row, but got " ^ line))

let rec read known place =
  match input_line stdin with
  | exception End_of_file -> List.rev known
  | line ->
      let r = row line in
      if not (in_order place r) then raise (Damaged ("a row reads what is not before it: " ^ line));
      read (r :: known) (place + 1)

let () =
  match numbers_of (read [] 0) with
  | found -> List.iter (Printf.printf "%d\n") found
  | exception Damaged reason -> prerr_endline reason; exit 2
